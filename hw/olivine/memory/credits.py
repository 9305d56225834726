"""Credits: places of a queue that are promised before they are filled."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .checks import check_integer

__all__ = ["CreditCounter"]


class CreditCounter(wiring.Component):
    """Counts free places. Whoever asks for data takes a credit for each beat that will arrive, and gives
    it back when the beat has left the queue or was dropped on the way; so the queue never overflows.

    Parameters
    ----------
    depth : int
        Places, at least 1.
    most : int
        Most credits that are taken at once, at most ``depth``.

    Members
    -------
    len : In(range(most))
        Credits that are wanted, minus one. Holds in the cycle after they are taken.
    enough : Out(1)
        So many credits are there. Stays high for a constant ``len`` until they are taken, and is low in the cycle
        after.
    take : In(1)
        Takes them; only while ``enough``.
    give : In(range(3))
        Credits that come back this cycle, at most those that are out.
    free : Out(range(depth + 1))
        Credits that are here, those that were taken in the cycle before among them.
    full : Out(1)
        All credits are here.
    """

    def __init__(self, depth, most):
        self.depth = check_integer("depth", depth, 1, 1 << 16)
        self.most = check_integer("most", most, 1, depth)
        super().__init__({"len": In(range(most)), "enough": Out(1), "take": In(1),
                          "give": In(range(3)), "free": Out(range(depth + 1)), "full": Out(1)})

    def elaborate(self, platform):
        m = Module()
        free = Signal(range(self.depth + 1), init=self.depth)
        # That some are taken is known late, so they are counted a cycle later.
        pending = Signal()
        m.d.comb += [
            self.free.eq(free),
            self.full.eq((free == self.depth) & ~pending),
            self.enough.eq((free > self.len) & ~pending),
        ]
        m.d.sync += [
            pending.eq(self.take), free.eq(free - Mux(pending, self.len + 1, 0) + self.give),
        ]
        return m
