"""The fork offers the same thing to two streams; each takes it once, in order."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from olivine.stream import fork

from tb.streams import PATTERNS
from tests.simulate import run


class ForkRig(wiring.Component):
    """One stream in, the same payloads out twice."""

    i: In(stream.Signature(8))
    o_left: Out(stream.Signature(8))
    o_right: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o_left.payload.eq(self.i.payload), self.o_right.payload.eq(self.i.payload),
                     self.i.ready.eq(fork(m, self.i.valid, self.o_left, self.o_right))]
        return m


@pytest.mark.parametrize("pattern", PATTERNS)
def test_fork(pattern):
    run(ForkRig(), "tb.stream.fork", parameters={"pattern": pattern}, expected=2)
