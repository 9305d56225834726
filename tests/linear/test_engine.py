"""The linear engine on the AXI bus, on both simulators."""

from dataclasses import replace

import pytest
from olivine.config import PRESETS
from olivine.linear.core import LinearCore
from olivine.verilog import design

from tests.simulate import run

_designs = {}


def engine(preset="tiny", element="folded", columns=1):
    """The engine's Verilog, made once for all tests of a process."""
    key = preset, element, columns
    if key not in _designs:
        config = replace(PRESETS[preset], element=element, drain_columns=columns)
        _designs[key] = design(LinearCore(config), "linear")
    return _designs[key]


def simulate(testbench, simulator="icarus", preset="tiny", element="folded", columns=1, **parameters):
    expected = parameters.pop("expected", None)
    run(engine(preset, element, columns), testbench, simulator=simulator, expected=expected,
        parameters={"preset": preset, "element": element, "columns": columns, **parameters})


@pytest.mark.parametrize("pattern", ["bursty", pytest.param("half", marks=pytest.mark.slow)])
def test_patterns_icarus(pattern):
    simulate("tb.linear.engine", pattern=pattern, jobs=2, seed=len(pattern), expected=3)


@pytest.mark.parametrize("pattern", ["always", "half", "bursty", "rare", "alternate"])
def test_patterns_verilator(pattern):
    simulate("tb.linear.engine", "verilator", pattern=pattern, jobs=4 if pattern == "rare" else 16,
             seed=len(pattern), expected=3)


@pytest.mark.parametrize("channel", ["ar", "r", "aw", "w", "b", "done"])
def test_each_channel_stalls(channel):
    simulate("tb.linear.engine", "verilator", pattern="bursty", stalled=channel, jobs=4, seed=7, expected=3)


@pytest.mark.parametrize(("element", "columns"), [
    ("folded", 2), pytest.param("exponent", 1, marks=pytest.mark.slow), ("exponent", 2)])
def test_variants(element, columns):
    simulate("tb.linear.engine", "verilator", element=element, columns=columns, pattern="half", jobs=12, seed=3,
             expected=3)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ecp5", "edge"])
def test_larger_presets(preset):
    simulate("tb.linear.engine", "verilator", preset=preset, pattern="bursty", jobs=4, seed=9, expected=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_many_jobs(seed):
    simulate("tb.linear.engine", "verilator", pattern="half", jobs=100, seed=100 + seed, expected=3)


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_faults(simulator):
    """2,000 illegal descriptors and an error at every beat on Verilator, a sample of both on Icarus."""
    small = {"descriptors": 40, "stride": 29} if simulator == "icarus" else {}
    simulate("tb.linear.faults", simulator, seed=5, expected=5, **small)
