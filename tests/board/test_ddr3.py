"""A board's DDR3 with LiteDRAM's controller and PHY, and a chip that refuses what its standard forbids."""

import pytest
from olivine_host.fpga.litedram import ddr3_core

from tests.board.ddr3_bench import ddr3_design, small_ddr3
from tests.simulate import run

pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")


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
