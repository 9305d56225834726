"""The append engine between memory and cache, on both simulators."""

import gc
from dataclasses import replace

import pytest
from olivine.config import PRESETS
from olivine.kvcache.append.engine import AppendEngine
from olivine.verilog import design

from tb.linear.bench import WINDOWS
from tests.simulate import run

_designs = {}


def engine(preset="tiny", vector_cycles=1):
    """The engine's Verilog, made once for all tests of a process."""
    name = preset, vector_cycles
    if name not in _designs:
        config = replace(PRESETS[preset], vector_cycles=vector_cycles, windows=WINDOWS)
        _designs[name] = design(AppendEngine(config), "append")
    return _designs[name]


def simulate(testbench, simulator="verilator", preset="tiny", vector_cycles=1, **parameters):
    """Run a testbench, which does not see how many cycles a word takes."""
    expected = parameters.pop("expected", None)
    run(engine(preset, vector_cycles), testbench, simulator=simulator, expected=expected,
        parameters={"preset": preset, "element": "folded", "columns": 1, **parameters})


def test_icarus():
    simulate("tb.kvcache.append", "icarus", pattern="half", jobs=1, seed=1, expected=6)


@pytest.mark.parametrize("pattern", ["half", "bursty", *(pytest.param(name, marks=pytest.mark.slow)
                                                         for name in ("always", "rare"))])
def test_patterns(pattern):
    simulate("tb.kvcache.append", pattern=pattern, jobs=4 if pattern == "rare" else 8, seed=len(pattern), expected=6)


@pytest.mark.parametrize("channel", ["r", "lookup", "event", *(pytest.param(name, marks=pytest.mark.slow)
                                                               for name in ("ar", "aw", "w", "b", "done", "found"))])
def test_each_channel_stalls(channel):
    simulate("tb.kvcache.append", pattern="rare", stalled=channel, jobs=2, seed=7, expected=6)


def test_faults():
    simulate("tb.kvcache.append_faults", seed=5, expected=11)


@pytest.mark.parametrize("pattern", ["always", "half", "bursty"])
def test_serial(pattern):
    """An element a cycle."""
    simulate("tb.kvcache.append", vector_cycles=2, pattern=pattern, jobs=8, seed=10 + len(pattern), expected=6)


def test_serial_faults():
    simulate("tb.kvcache.append_faults", vector_cycles=2, seed=8, expected=11)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "vector_cycles"), [("ecp5", 1), ("ecp5", 4), ("edge", 1), ("edge", 2)])
def test_larger_presets(preset, vector_cycles):
    simulate("tb.kvcache.append", preset=preset, vector_cycles=vector_cycles, pattern="bursty", jobs=12, seed=9,
             expected=6)
    simulate("tb.kvcache.append_faults", preset=preset, vector_cycles=vector_cycles, seed=6, expected=11,
             descriptors=100)


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
