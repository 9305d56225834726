"""The simulation helper: it passes what passes, and nothing else."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from olivine.verilog import Design

from tests import simulate


class Counter(wiring.Component):
    """Adds ``step`` to ``count`` in every enabled cycle."""

    enable: In(1)
    step: In(4)
    count: Out(8)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.enable):
            m.d.sync += self.count.eq(self.count + self.step)
        return m


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_passes(simulator):
    simulate.run(Counter(), "tb.selftest.counter", simulator=simulator, expected=2)


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_failure_is_reported(simulator):
    with pytest.raises(pytest.fail.Exception, match="1 of 2 tests failed(?s:.*)fails_on_request(?s:.*)log: "):
        simulate.run(Counter(), "tb.selftest.counter", simulator=simulator, parameters={"fail": "yes"})


def test_failure_on_icarus_leaves_waveforms():
    with pytest.raises(pytest.fail.Exception, match=r"waveforms: (\S+\.fst)") as caught:
        simulate.run(Counter(), "tb.selftest.counter", parameters={"fail": "yes"})
    path = str(caught.value).rsplit("waveforms: ", 1)[1].strip()
    assert open(path, "rb").read(1), "the waveform file is empty"


def test_wrong_count_is_reported():
    with pytest.raises(pytest.fail.Exception, match="2 tests ran, 3 were expected"):
        simulate.run(Counter(), "tb.selftest.counter", expected=3)


def test_missing_testbench_is_reported():
    with pytest.raises(pytest.fail.Exception, match="ended without results|no test ran"):
        simulate.run(Counter(), "tb.selftest.missing")


def test_module_without_tests_is_reported():
    with pytest.raises(pytest.fail.Exception, match="ended without results|no test ran"):
        simulate.run(Counter(), "tb.streams")


def test_filter_that_matches_nothing_is_reported(monkeypatch):
    monkeypatch.setenv("COCOTB_TEST_FILTER", "matches_nothing_at_all")
    with pytest.raises(pytest.fail.Exception, match="no test ran"):
        simulate.run(Counter(), "tb.selftest.counter")


def test_skipped_test_is_reported():
    with pytest.raises(pytest.fail.Exception, match="1 of 2 tests were skipped"):
        simulate.run(Counter(), "tb.selftest.skipping")


def test_broken_verilog_is_reported():
    with pytest.raises(pytest.fail.Exception, match="broken does not build on icarus(?s:.*)syntax error"):
        simulate.run(Design("broken", "module broken(; endmodule", []), "tb.selftest.counter")
