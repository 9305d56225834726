"""Credits: places of a queue that are promised before they are filled."""

from amaranth.hdl import Module, Signal
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
    amount : In(range(most + 1))
        Credits that are wanted.
    enough : Out(1)
        ``amount`` credits are there. Stays high for a constant ``amount`` until they are taken.
    take : In(1)
        Takes ``amount`` credits; only while ``enough``.
    give : In(range(3))
        Credits that come back this cycle, at most those that are out.
    free : Out(range(depth + 1))
        Credits that are here.
    full : Out(1)
        All credits are here.
    """

    def __init__(self, depth, most):
        self.depth = check_integer("depth", depth, 1, 1 << 16)
        self.most = check_integer("most", most, 1, depth)
        super().__init__({"amount": In(range(most + 1)), "enough": Out(1), "take": In(1),
                          "give": In(range(3)), "free": Out(range(depth + 1)), "full": Out(1)})

    def elaborate(self, platform):
        m = Module()
        free = Signal(range(self.depth + 1), init=self.depth)
        m.d.comb += [
            self.free.eq(free),
            self.full.eq(free == self.depth),
            self.enough.eq(free >= self.amount),
        ]
        m.d.sync += free.eq(free + self.give - (self.amount & self.take.replicate(len(self.amount))))
        return m
