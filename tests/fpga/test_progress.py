"""Stages, from lines that the tools printed."""

import pytest
from olivine_host.fpga.progress import NextpnrStages, YosysStages


@pytest.mark.parametrize("line, name", [
    ("2.17. Executing OPT pass (performing simple optimizations).", "synthesis, opt"),
    ("2. Executing SYNTH_ECP5 pass.", "synthesis, synth_ecp5"),
])
def test_yosys(line, name):
    assert YosysStages().line(line).name == name


def test_other_lines_of_yosys():
    assert YosysStages().line("Removed a total of 12 cells.") is None
    assert YosysStages().line("2.33.4.1. Executing OPT_EXPR pass (perform const folding).") is None, "too much detail"


def test_nextpnr():
    stages = NextpnrStages()
    told = [stages.line(line) for line in (
        "Info: Packing carries...", "Info: Creating initial analytic placement for 1747 cells, random placement",
        "Info:     at iteration #3, type ALL: wirelen solved = 2177, spread = 19085, legal = 19842; time = 0.25s",
        "Info: Running simulated annealing placer for refinement.",
        "Info:   at iteration #5: temp = 0.000000, timing cost = 362, wirelen = 14706",
        "Info: Routing globals...", "Info: Routing 8000 arcs.",
        "Info:       1000 |      119        880 |  119   880 |      6000|       5.39       5.39|",
        "Info: Routing complete.")]
    assert [stage and stage.name for stage in told] == [
        "packing", "first placement", "placement, round 3", "refining the placement", None, "routing clocks",
        "routing", "routing", "timing"]
    assert told[-3].fraction == 0 and told[-2].fraction == 0.25
