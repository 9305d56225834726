"""Reading a block RAM."""

from amaranth.hdl import Signal

__all__ = ["read_later"]


def read_later(m, memory, addr, write, enable=1, same=None):
    """The word of the row ``addr`` in the cycle before, out of a block RAM that is written through another port.

    Where both ports meet in a row, what many block RAMs read is undefined. To give it a meaning, synthesis adds a LUT
    and more for each bit of a word; so here the word stays as it was, whatever row it came from, and nobody may look
    at it: ask for a row in another cycle than the one that writes it. A comparison of two addresses is what it costs.

    Parameters
    ----------
    m : Module
    memory : Memory
    addr : Value
    write : write port
        The only one.
    enable : Value
        0 keeps the word.
    same : Value
        Whether ``addr`` is the row ``write.addr``, where the caller knows it earlier than by comparing the two.

    Returns
    -------
    Signal
        Keeps its value in a reset.
    """
    port, word = memory.read_port(domain="comb"), Signal(memory.shape, reset_less=True)
    m.d.comb += port.addr.eq(addr)
    same = write.addr == port.addr if same is None else same
    with m.If(enable & ~(write.en.any() & same)):
        m.d.sync += word.eq(port.data)
    return word
