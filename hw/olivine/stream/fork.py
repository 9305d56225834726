"""One offer to several streams at once."""

from amaranth.hdl import Cat, Mux, Signal, Value

__all__ = ["fork"]


def fork(m, offered, *streams):
    """Offer something to every stream, each taking it when it can.

    The payloads are the caller's: they hold while ``offered`` is high and the result is low. No stream's
    ``valid`` waits for a ``ready``, its own or another's.

    Parameters
    ----------
    m : Module
    offered : Value
        Stays high until everyone has taken.
    streams : stream interfaces

    Returns
    -------
    Value
        1 in the cycle in which the last of them takes it.
    """
    sent, offered = Signal(len(streams)), Value.cast(offered)
    # Of what is offered, and who is ready, either may be known late.
    ready = Cat(target.ready for target in streams)
    everyone = offered & (sent | ready).all()
    m.d.comb += [target.valid.eq(offered & ~sent[index]) for index, target in enumerate(streams)]
    m.d.sync += sent.eq(Mux(everyone, 0, sent | ready & offered.replicate(len(streams))))
    return everyone
