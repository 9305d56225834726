"""The linear engine on the AXI bus, on both simulators."""

from dataclasses import replace

import pytest
from olivine.config import PRESETS
from olivine.linear.core import LinearCore
from olivine.verilog import design

from tb.linear.bench import WINDOWS
from tests.simulate import run

_designs = {}


def engine(preset="tiny", element="folded", columns=1, cycles=1, controlled=False):
    """The engine's Verilog, made once for all tests of a process."""
    key = preset, element, columns, cycles, controlled
    if key not in _designs:
        config = replace(PRESETS[preset], element=element, drain_columns=columns, vector_cycles=cycles,
                         windows=WINDOWS)
        _designs[key] = design(LinearCore(config, controlled), "linear")
    return _designs[key]


def simulate(testbench, simulator="icarus", preset="tiny", element="folded", columns=1, cycles=1, controlled=False,
             **parameters):
    expected = parameters.pop("expected", None)
    run(engine(preset, element, columns, cycles, controlled), testbench, simulator=simulator, expected=expected,
        parameters={"preset": preset, "element": element, "columns": columns, "cycles": cycles, **parameters})


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["bursty", "half"])
def test_patterns_icarus(pattern):
    simulate("tb.linear.engine", pattern=pattern, jobs=2, seed=len(pattern), expected=3)


@pytest.mark.parametrize("pattern", ["half", "bursty", *(pytest.param(name, marks=pytest.mark.slow)
                                                         for name in ("always", "rare", "alternate"))])
def test_patterns_verilator(pattern):
    simulate("tb.linear.engine", "verilator", pattern=pattern, jobs=4 if pattern == "rare" else 16,
             seed=len(pattern), expected=3)


@pytest.mark.parametrize("channel", ["r", "b", *(pytest.param(name, marks=pytest.mark.slow)
                                                for name in ("ar", "aw", "w", "done"))])
def test_each_channel_stalls(channel):
    simulate("tb.linear.engine", "verilator", pattern="bursty", stalled=channel, jobs=4, seed=7, expected=3)


@pytest.mark.parametrize(("element", "columns"), [
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (("folded", 2), ("exponent", 1))), ("exponent", 2)])
def test_variants(element, columns):
    simulate("tb.linear.engine", "verilator", element=element, columns=columns, pattern="half", jobs=12, seed=3,
             expected=3)


@pytest.mark.parametrize(("preset", "element", "columns", "cycles"), [
    ("tiny", "folded", 1, 2), *(pytest.param(*case, marks=pytest.mark.slow) for case in (
        ("tiny", "exponent", 2, 2), ("ecp5", "folded", 1, 4), ("ecp5", "exponent", 1, 2)))])
def test_fewer_lanes_than_rows(preset, element, columns, cycles):
    simulate("tb.linear.engine", "verilator", preset=preset, element=element, columns=columns, cycles=cycles,
             pattern="half", jobs=12, seed=5, expected=3)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ecp5", "edge"])
def test_larger_presets(preset):
    simulate("tb.linear.engine", "verilator", preset=preset, pattern="bursty", jobs=4, seed=9, expected=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_many_jobs(seed):
    simulate("tb.linear.engine", "verilator", pattern="half", jobs=100, seed=100 + seed, expected=3)


@pytest.mark.parametrize("simulator", [pytest.param("icarus", marks=pytest.mark.slow), "verilator"])
def test_faults(simulator):
    """2,000 illegal descriptors and an error at every beat on Verilator, a sample of both on Icarus."""
    small = {"descriptors": 40, "stride": 29} if simulator == "icarus" else {}
    simulate("tb.linear.faults", simulator, seed=5, expected=5, **small)


def test_held_up_and_given_up():
    simulate("tb.linear.control", "verilator", controlled=True, seed=3, expected=2)
