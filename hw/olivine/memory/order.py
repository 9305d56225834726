"""Whose beats come next on W."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..stream.queue import Queue
from .checks import check_integer

__all__ = ["AHEAD", "BurstOrder"]

AHEAD = 8
"""Bursts whose address is granted before the first beat of theirs. Two would do on a bus that takes both at once."""


class BurstOrder(wiring.Component):
    """First-in first-out list of one in ``count``, one-hot; the first is a register, as every bit of W waits for it.

    One entry a cycle; an entry is first in the cycle after it enters an empty list.

    Parameters
    ----------
    count : int
        At least 2.

    Members
    -------
    enters : In(count)
        At most one bit.
    room : Out(1)
        A register: fewer than `AHEAD` entries were behind the first a cycle ago. Where it falls, up to 6 more may
        enter, so what was on offer need not be taken back.
    first : Out(count)
        None if the list is empty.
    leaves : In(1)
        The first is no longer wanted; only while there is one.
    """

    def __init__(self, count):
        self.count = check_integer("count", count, 2, 64)
        super().__init__({"enters": In(count), "room": Out(1), "first": Out(count), "leaves": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.behind = behind = Queue(self.count, 2 * AHEAD)
        moves = Signal()
        m.d.comb += [
            moves.eq(~self.first.any() | self.leaves),
            behind.i.payload.eq(self.enters), behind.i.valid.eq(self.enters.any() & (behind.o.valid | ~moves)),
            behind.o.ready.eq(moves),
        ]
        m.d.sync += self.room.eq(behind.level < AHEAD)
        with m.If(moves):
            m.d.sync += self.first.eq(Mux(behind.o.valid, behind.o.payload, self.enters))
        return m
