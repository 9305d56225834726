"""A queue that can be read again from its oldest payload on."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..stream import read_later

__all__ = ["ReplayQueue"]


class ReplayQueue(wiring.Component):
    """First-in first-out queue whose payloads can be taken more than once.

    Parameters
    ----------
    shape : shape-like
    depth : int
        Payloads that fit; power of two.

    Attributes
    ----------
    latency : int
        Cycles from a transfer into an empty queue to ``o.valid``.

    Members
    -------
    i : In(stream)
        Ready while there is room.
    o : Out(stream)
    keep, back : In(1)
        With a transfer on ``o``. ``keep``: the payload stays in its place; after others that stay, all that follow must
        until ``back``. ``back``: the next one is the oldest again, the first that stays.

    Throughput: a payload a cycle both ways. Cost: a memory, in block RAM where it is large.
    """

    latency = 2

    def __init__(self, shape, depth):
        if not isinstance(depth, int) or depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth of a replay queue must be a power of two from 2 on, not {depth!r}")
        self.shape, self.depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "keep": In(1), "back": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        write = memory.write_port()
        # Counted modulo twice the depth: how many are held follows from the difference.
        places = range(2 * self.depth)
        end, oldest, here = Signal(places), Signal(places), Signal(places)
        following, after, taken = Signal(places), Signal(places), Signal()
        # Whether another one fits is a register: there is a way yet from ``i.ready`` to the memory.
        full, end_after, gives = Signal(), Signal(places), Signal()

        def next_of(here, back, after):
            """What is taken is known late: it chooses between what is known of each place that may follow."""
            return Mux(taken, Mux(self.keep & self.back, back, after), here)

        m.d.comb += [
            self.i.ready.eq(~full), end_after.eq(end + 1), after.eq(here + 1), gives.eq(taken & ~self.keep),
            write.addr.eq(end), write.data.eq(self.i.payload), write.en.eq(self.i.valid & self.i.ready),
            taken.eq(self.o.valid & self.o.ready), following.eq(next_of(here, oldest, after)),
            # The word that is being written is not there yet, whatever is read.
            self.o.payload.eq(read_later(m, memory, following, write, same=next_of(
                *((place[:-1] == end[:-1]) for place in (here, oldest, after))))),
        ]
        with m.If(write.en):
            m.d.sync += end.eq(end_after)
        m.d.sync += [full.eq(~gives & (full | write.en & ((end_after ^ oldest) == self.depth))), here.eq(following),
                     self.o.valid.eq(next_of(*((place != end) for place in (here, oldest, after))))]
        with m.If(gives):
            m.d.sync += oldest.eq(after)
        return m
