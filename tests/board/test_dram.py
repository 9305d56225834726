"""A board's memory with LiteDRAM's controller, and a chip that refuses what its data sheet forbids."""

import json

import pytest
from olivine.board.dram_parts import SDRAM_PARTS
from olivine_host.fpga.litedram import sdr_core

from tests.board.dram_bench import dram_design, small
from tests.board.measure import FIGURES, POINTS, measure
from tests.simulate import run

pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")


def _run(clk_freq, core_ps=20_000, cas=None, simulator="icarus", part=None, **parameters):
    part = part or small()
    core = sdr_core(part, clk_freq, cas=cas)
    run(dram_design(core), "tb.board.dram", simulator=simulator, expected=3, parameters={
        "core_ps": core_ps, "dram_ps": round(1e12 / clk_freq / 2) * 2, "size": part.size, **parameters})


def test_on_icarus():
    """With the chip's access and hold times: data is X in between."""
    _run(100_000_000, turns=1)


def test_on_verilator():
    _run(100_000_000, simulator="verilator")


@pytest.mark.slow
@pytest.mark.parametrize("clk_freq, core_ps, cas", [
    (75_000_000, 40_000, 2), (100_000_000, 9_000, 3), (133_000_000, 33_334, 3), (50_000_000, 20_000, 2)])
def test_clocks(clk_freq, core_ps, cas):
    _run(clk_freq, core_ps, cas, turns=3)


@pytest.mark.slow
def test_figures():
    """What docs/board-memory.md quotes is what comes out."""
    recorded = {(record["name"], record["memory_mhz"], record["core_mhz"]): record
                for record in json.loads(FIGURES.read_text())}
    clk_freq, core_ps = POINTS[0]
    for record in measure(clk_freq, core_ps, only=("read-sequential-32", "read-scattered-8")):
        known = recorded[record["name"], record["memory_mhz"], record["core_mhz"]]
        if "clocks" not in record:
            continue    # a latency
        # A pattern may begin anywhere between two refreshes.
        assert abs(record["clocks"] - known["clocks"]) <= max(20, known["clocks"] // 200), (record, known)


@pytest.mark.slow
def test_whole_part():
    """The real part with its real wait after the power."""
    _run(100_000_000, simulator="verilator", part=SDRAM_PARTS["sdr-32m"], turns=20)
