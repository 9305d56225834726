"""The attention engine on the AXI bus, on both simulators."""

from dataclasses import replace

import pytest
from olivine.attention.core import AttentionCore
from olivine.config import PRESETS
from olivine.verilog import design

from tb.linear.bench import WINDOWS
from tests.simulate import run

_designs = {}


def engine(preset="tiny", controlled=False):
    """The engine's Verilog, made once for all tests of a process."""
    key = preset, controlled
    if key not in _designs:
        _designs[key] = design(AttentionCore(replace(PRESETS[preset], windows=WINDOWS), controlled), "attention")
    return _designs[key]


def simulate(testbench, simulator="icarus", preset="tiny", controlled=False, **parameters):
    expected = parameters.pop("expected", None)
    run(engine(preset, controlled), testbench, simulator=simulator, expected=expected,
        parameters={"preset": preset, "element": "folded", "columns": 1, **parameters})


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["bursty", "half"])
def test_patterns_icarus(pattern):
    simulate("tb.attention.engine", pattern=pattern, jobs=4, seed=len(pattern), expected=4)


@pytest.mark.parametrize("pattern", ["half", *(pytest.param(name, marks=pytest.mark.slow)
                                               for name in ("always", "bursty", "rare", "alternate"))])
def test_patterns_verilator(pattern):
    simulate("tb.attention.engine", "verilator", pattern=pattern, jobs=10 if pattern == "rare" else 75,
             seed=len(pattern), expected=4)


@pytest.mark.parametrize("channel", ["r", "b", *(pytest.param(name, marks=pytest.mark.slow)
                                                for name in ("ar", "aw", "w", "done"))])
def test_each_channel_stalls(channel):
    simulate("tb.attention.engine", "verilator", pattern="bursty", stalled=channel, jobs=8, seed=7, expected=4)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ecp5", "edge"])
def test_larger_presets(preset):
    simulate("tb.attention.engine", "verilator", preset=preset, pattern="bursty", jobs=15, seed=9, expected=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_many_jobs(seed):
    simulate("tb.attention.engine", "verilator", pattern="half", jobs=400, seed=100 + seed, expected=4)


@pytest.mark.parametrize("simulator", [pytest.param("icarus", marks=pytest.mark.slow), "verilator"])
def test_faults(simulator):
    """2,000 illegal descriptors and an error at every beat on Verilator, a sample of both on Icarus."""
    small = {"descriptors": 40, "stride": 29} if simulator == "icarus" else {}
    simulate("tb.attention.faults", simulator, seed=5, expected=6, **small)


def test_held_up_and_given_up():
    simulate("tb.attention.control", "verilator", controlled=True, seed=3, expected=4)


@pytest.mark.parametrize(("name", "value"), [("element", "exponent"), ("drain_columns", 2), ("bus_bits", 64)])
def test_refused_configurations(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}: attention needs"):
        AttentionCore(replace(PRESETS["tiny"], **{name: value}))
