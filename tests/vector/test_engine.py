"""The vector engine on the AXI bus, on both simulators."""

from dataclasses import replace

import pytest
from olivine.config import PRESETS
from olivine.vector.engine import VectorEngine
from olivine.verilog import design

from tb.linear.bench import WINDOWS
from tests.simulate import run

_designs = {}


def engine(preset, cycles):
    """The engine's Verilog, made once for all tests of a process."""
    if (preset, cycles) not in _designs:
        config = replace(PRESETS[preset], vector_cycles=cycles, windows=WINDOWS)
        _designs[preset, cycles] = design(VectorEngine(config), "vector")
    return _designs[preset, cycles]


def simulate(testbench, simulator="verilator", preset="tiny", cycles=1, **parameters):
    expected = parameters.pop("expected", None)
    run(engine(preset, cycles), testbench, simulator=simulator, expected=expected,
        parameters={"preset": preset, "element": "folded", "columns": 1, "vector_cycles": cycles, **parameters})


@pytest.mark.parametrize("pattern", ["always", "half", pytest.param("bursty", marks=pytest.mark.slow),
                                     pytest.param("rare", marks=pytest.mark.slow)])
def test_patterns(pattern):
    simulate("tb.vector.engine", pattern=pattern, jobs=4 if pattern == "rare" else 30, seed=len(pattern), expected=6)


@pytest.mark.parametrize("preset, cycles", [("ecp5", 4), pytest.param("tiny", 2, marks=pytest.mark.slow),
                                            pytest.param("ecp5", 2, marks=pytest.mark.slow)])
def test_words_in_parts(preset, cycles):
    simulate("tb.vector.engine", preset=preset, cycles=cycles, pattern="half", jobs=20, seed=cycles, expected=6)


@pytest.mark.parametrize("preset, cycles", [("tiny", 1), ("ecp5", 4)])
def test_faults(preset, cycles):
    """2,000 illegal descriptors, or a few, and an error at every beat, or some."""
    parameters = {} if cycles == 1 else {"descriptors": 200, "stride": 5}
    simulate("tb.vector.faults", preset=preset, cycles=cycles, seed=5, expected=8, **parameters)


def test_icarus():
    simulate("tb.vector.kinds", "icarus", pattern="half", seed=1, expected=1)


@pytest.mark.parametrize("channel", ["r", "b", *(pytest.param(name, marks=pytest.mark.slow)
                                                for name in ("ar", "aw", "w", "done"))])
def test_each_channel_stalls(channel):
    simulate("tb.vector.kinds", pattern="rare", stalled=channel, jobs=2, seed=7, expected=1)


def test_four_rows():
    simulate("tb.vector.kinds", preset="ecp5", cycles=2, pattern="bursty", jobs=2, seed=3, expected=1)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ecp5", "edge"])
def test_larger_presets(preset):
    simulate("tb.vector.engine", preset=preset, pattern="bursty", jobs=20, seed=9, expected=6)
    simulate("tb.vector.faults", preset=preset, seed=6, expected=8, descriptors=100, stride=7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_jobs(seed):
    simulate("tb.vector.engine", pattern="half", jobs=300, seed=100 + seed, expected=6)


@pytest.mark.slow
@pytest.mark.parametrize("preset, cycles", [("tiny", 1), ("edge", 1), ("ecp5", 4)])
def test_cycles(preset, cycles):
    """The cycle budget of `tb.vector.cycles`."""
    simulate("tb.vector.cycles", preset=preset, cycles=cycles, expected=1)
