"""Proof that the guard passes what lies in a window, refuses everything else, and does one of the two in time."""

import pytest
from amaranth.hdl import Assume, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from olivine.control.job import command
from olivine.memory.guard import AddressGuard

from tests.formal import prove
from tests.stream.harness import Checks, holds, taken


class GuardHarness(wiring.Component):
    """A guard with free inputs; its windows change whenever it holds no command, and so do resets."""

    def __init__(self, width, windows, write):
        self.guard = AddressGuard(width, windows, write, window_width=13)
        super().__init__({"payload": In(command(width)), "valid": In(1), "ready": In(1), "clear": In(1),
                          "windows": In(self.guard.windows.shape())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.guard = guard = self.guard
        m.d.comb += [guard.i.payload.eq(self.payload), guard.i.valid.eq(self.valid), guard.o.ready.eq(self.ready),
                     guard.clear.eq(self.clear), guard.windows.eq(self.windows)]
        before, was_busy = Signal.like(self.windows), Signal()
        m.d.sync += [before.eq(self.windows), was_busy.eq(guard.busy)]
        m.d.comb += Assume(~(was_busy & guard.busy) | (self.windows.as_value() == before.as_value()))

        check = Checks()
        holds(m, guard.o, check)
        entered = Signal()
        m.d.sync += entered.eq(taken(guard.i))
        # The command that is inside, and for how long it was neither offered nor refused.
        inside, noted, waited = Signal(), Signal(command(guard.addr_width)), Signal(range(guard.window_count + 1))
        leaves = taken(guard.o) | guard.fault.valid & self.clear
        m.d.sync += [inside.eq(taken(guard.i) | inside & ~leaves),
                     # One cycle adds up where the command ends, one compares.
                     waited.eq(Mux(~inside | ~guard.judged, 0, waited + ~(guard.o.valid | guard.fault.valid)))]
        with m.If(taken(guard.i)):
            m.d.sync += noted.eq(self.payload)
        # The arithmetic as in the guard, so that it is the same to the solver: what it says is for simulation to test.
        width, windows = guard.window_width, guard.window_count
        after, end, sound = Signal(33), Signal(width + 1), Signal()
        m.d.comb += [after.eq(noted.bytes - 1), end.eq(noted.addr[:width] + after[:width]),
                     sound.eq(~(noted.addr[width:].any() | after[width:].any() | end[width]))]
        # Of what the guard keeps, which is checked against what was noted.
        holds_it = [guard.sound & (window.writable if guard.write else window.readable)
                    & (guard.o.payload.addr[:width] >= window.first) & (guard.last <= window.last)
                    for window in self.windows]
        allowed = Cat(holds_it).any()
        comes_behind = guard.coming == Mux(guard.current == windows - 1, 0, guard.current + 1)
        m.d.comb += [
            check(guard.busy == inside),
            check(~guard.o.valid | inside & allowed & (guard.o.payload.addr == noted.addr[:width])
                  & (guard.o.payload.last == end[:width])),
            check(~guard.fault.valid | inside & ~allowed & (guard.fault.addr == noted.addr)),
            check(~(guard.o.valid & guard.fault.valid)),
            check(~inside | guard.o.valid | guard.fault.valid | (waited < guard.window_count)),
            # It never waits for room while it is empty.
            check(guard.i.ready | inside),
            # Inside: what is kept of the command, and that the windows looked at do not hold it.
            check(~inside | (guard.held == noted)),
            check(~guard.added | inside & (guard.last == end[:width]) & (guard.sound == sound)),
            check(~inside | guard.added | entered),
            check(~guard.added | guard.fault.valid | guard.o.valid
                  | (guard.window.as_value() == self.windows[guard.current].as_value()) & comes_behind),
            check(guard.judged | guard.fits | ~guard.fault.valid & (~inside | (guard.tried == 0))),
            check(guard.added | ~guard.judged & ~guard.fits & ~guard.fault.valid),
            check(~inside | guard.added | (guard.current == guard.coming)),
            check((guard.coming < windows) & (guard.current < windows) & (guard.before < windows)),
            check(~inside | guard.fault.valid | (guard.tried < windows)),
            check(~inside | guard.fault.valid | guard.fits | (waited == guard.tried)),
            check(~guard.fits | guard.added & allowed),
            check(~(guard.judged & guard.fits) | Cat(holds_it).bit_select(guard.before, 1)),
            check(~(guard.added & guard.judged & ~guard.fault.valid)
                  | (guard.current == Mux(guard.before == windows - 1, 0, guard.before + 1))),
            *(check(~guard.judged | guard.fits | ((guard.before + windows - index) % windows > guard.tried) | ~held)
              for index, held in enumerate(holds_it)),
        ]
        m.d.comb += check.all_hold()
        return m


@pytest.mark.parametrize("width, windows, write", [(13, 2, False), (14, 3, True)])
def test_guard(width, windows, write):
    prove(GuardHarness(width, windows, write), f"guard_{width}_{windows}", mode="sat", depth=4)
