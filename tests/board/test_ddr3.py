"""A board's DDR3 with LiteDRAM's controller and PHY, and a chip that refuses what its standard forbids."""

import json

import pytest
from olivine_host.fpga.litedram import ddr3_core

from tests.board.ddr3_bench import ddr3_design, small_ddr3
from tests.board.measure import DDR3_POINTS, FIGURES, measure
from tests.simulate import run

pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")

PART = "mt41k256m16"


def _run(clk_freq=75_000_000, core_ps=13_334, simulator="verilator", **parameters):
    part = small_ddr3()
    run(ddr3_design(ddr3_core(part, clk_freq)), "tb.board.ddr3", simulator=simulator, expected=6, parameters={
        "core_ps": core_ps, "dram_ps": round(1e12 / clk_freq / 4) * 4, "size": part.size, **parameters})


def test_on_icarus():
    _run(simulator="icarus", turns=1)


@pytest.mark.slow
@pytest.mark.parametrize("clk_freq, core_ps", [(75_000_000, 40_000), (75_000_000, 9_000), (100_000_000, 20_000)])
def test_clocks(clk_freq, core_ps):
    _run(clk_freq, core_ps, turns=3)


@pytest.mark.slow
def test_whole_waits():
    """The data sheet's waits after the power, at the speed of the board's own clocks."""
    part = small_ddr3(power_up=200_000.0, reset_to_cke=500_000.0)
    run(ddr3_design(ddr3_core(part, 75_000_000)), "tb.board.ddr3", simulator="verilator", expected=6, parameters={
        "core_ps": 13_334, "dram_ps": 13_332, "size": part.size, "turns": 6})


@pytest.mark.slow
def test_figures():
    """What docs/board-memory.md quotes is what comes out."""
    recorded = {(record["name"], record["core_mhz"]): record for record in json.loads(FIGURES.read_text())
                if record["part"] == PART}
    clk_freq, core_ps = DDR3_POINTS[0]
    for record in measure(clk_freq, core_ps, only=("read-sequential-32", "write-sequential-32"), part=PART):
        known = recorded[record["name"], record["core_mhz"]]
        if "clocks" not in record:
            continue    # a latency
        # A pattern may begin anywhere between two refreshes.
        assert abs(record["clocks"] - known["clocks"]) <= max(20, known["clocks"] // 100), (record, known)
