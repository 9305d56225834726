"""The attention engine on the AXI bus, on both simulators."""

from dataclasses import replace

import pytest
from olivine.attention.core import AttentionCore
from olivine.config import PRESETS
from olivine.verilog import design

from tests.simulate import run

_designs = {}


def engine(preset="tiny"):
    """The engine's Verilog, made once for all tests of a process."""
    if preset not in _designs:
        _designs[preset] = design(AttentionCore(PRESETS[preset]), "attention")
    return _designs[preset]


def simulate(testbench, simulator="icarus", preset="tiny", **parameters):
    expected = parameters.pop("expected", None)
    run(engine(preset), testbench, simulator=simulator, expected=expected,
        parameters={"preset": preset, "element": "folded", "columns": 1, **parameters})


@pytest.mark.parametrize("pattern", ["bursty", pytest.param("half", marks=pytest.mark.slow)])
def test_patterns_icarus(pattern):
    simulate("tb.attention.engine", pattern=pattern, jobs=12, seed=len(pattern), expected=4)


@pytest.mark.parametrize("pattern", ["always", "half", "bursty", "rare", "alternate"])
def test_patterns_verilator(pattern):
    simulate("tb.attention.engine", "verilator", pattern=pattern, jobs=10 if pattern == "rare" else 75,
             seed=len(pattern), expected=4)


@pytest.mark.parametrize("channel", ["ar", "r", "aw", "w", "b", "done"])
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


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_faults(simulator):
    """2,000 illegal descriptors and an error at every beat on Verilator, a sample of both on Icarus."""
    small = {"descriptors": 40, "stride": 29} if simulator == "icarus" else {}
    simulate("tb.attention.faults", simulator, seed=5, expected=6, **small)


@pytest.mark.parametrize(("name", "value"), [("element", "exponent"), ("drain_columns", 2), ("bus_bits", 64)])
def test_refused_configurations(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}: attention needs"):
        AttentionCore(replace(PRESETS["tiny"], **{name: value}))
