"""Notices a bus that has fallen silent."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .checks import check_integer

__all__ = ["Watchdog"]


class Watchdog(wiring.Component):
    """Counts cycles of waiting without progress.

    Latency: ``expired`` is high for one cycle, the second after the last of ``limit`` consecutive cycles
    with ``waiting`` and without ``progress``. Counting starts anew with the one before.

    Parameters
    ----------
    bits : int
        Width of the limit, 1 to 32.

    Members
    -------
    limit : In(bits)
        Cycles; 0 is never.
    waiting : In(1)
        Something is outstanding.
    progress : In(1)
        Something moved.
    expired : Out(1)
    """

    def __init__(self, bits=24):
        self.bits = check_integer("bits", bits, 1, 32)
        super().__init__({"limit": In(bits), "waiting": In(1), "progress": In(1), "expired": Out(1)})

    def elaborate(self, platform):
        m = Module()
        count = Signal(self.bits, init=1)       # this silent cycle included
        # Who waits and what moves is known late.
        expired, silent = Signal(), Signal()
        m.d.comb += self.expired.eq(expired)
        m.d.sync += [expired.eq(0), count.eq(1), silent.eq(self.waiting & ~self.progress)]
        with m.If(silent & (self.limit != 0)):
            # At or past it, should the limit be lowered on the way.
            with m.If(count >= self.limit):
                m.d.sync += expired.eq(1)
            with m.Else():
                m.d.sync += count.eq(count + 1)
        return m
