"""The append engine between memory and cache, on both simulators."""

import gc
from dataclasses import replace

import pytest
from olivine.config import PRESETS
from olivine.kvcache.append.engine import AppendEngine
from olivine.verilog import design

from tests.simulate import run

_designs = {}


def engine(preset="tiny"):
    """The engine's Verilog, made once for all tests of a process."""
    if preset not in _designs:
        _designs[preset] = design(AppendEngine(PRESETS[preset]), "append")
    return _designs[preset]


def simulate(testbench, simulator="verilator", preset="tiny", **parameters):
    expected = parameters.pop("expected", None)
    run(engine(preset), testbench, simulator=simulator, expected=expected,
        parameters={"preset": preset, "element": "folded", "columns": 1, **parameters})


def test_icarus():
    simulate("tb.kvcache.append", "icarus", pattern="half", jobs=1, seed=1, expected=6)


@pytest.mark.parametrize("pattern", ["always", "half", "bursty", "rare"])
def test_patterns(pattern):
    simulate("tb.kvcache.append", pattern=pattern, jobs=4 if pattern == "rare" else 8, seed=len(pattern), expected=6)


@pytest.mark.parametrize("channel", ["ar", "r", "aw", "w", "b", "done", "lookup", "found", "event"])
def test_each_channel_stalls(channel):
    simulate("tb.kvcache.append", pattern="rare", stalled=channel, jobs=2, seed=7, expected=6)


def test_faults():
    simulate("tb.kvcache.append_faults", seed=5, expected=10)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ecp5", "edge"])
def test_larger_presets(preset):
    simulate("tb.kvcache.append", preset=preset, pattern="bursty", jobs=12, seed=9, expected=6)
    simulate("tb.kvcache.append_faults", preset=preset, seed=6, expected=10, descriptors=100)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_jobs(seed):
    simulate("tb.kvcache.append", pattern="half", jobs=150, seed=100 + seed, expected=6)


@pytest.mark.slow
def test_cycles():
    """The cycle budget of the engine's docstring, on edge."""
    simulate("tb.kvcache.append_cycles", preset="edge", expected=6)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(("name", "value"), [("bus_bits", 64)])
def test_refused_configurations(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}: append needs"):
        AppendEngine(replace(PRESETS["tiny"], **{name: value}))
    gc.collect()
