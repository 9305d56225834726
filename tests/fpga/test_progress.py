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


def test_rounds_of_routing():
    line = "Info:     iter=12 wires=1421434 overused=2860 overuse=2863 archfail=NA"
    assert NextpnrStages().line(line).name == "routing, round 12, 2,860 wires shared"


def test_nextpnr():
    stages = NextpnrStages()
    told = [stages.line(line) for line in (
        "Info: Packing carries...", "Info: Running Static placer...",
        "Info: iter=3 steplen=1.454167 a=1.000000 penalty=[0.00, 0.00, 0.00, 0.00]",
        "Info:    update_chains distance 535.81", "Info: Strict legalising 314 cells...",
        "Info: Running simulated annealing placer for refinement.",
        "Info:   at iteration #5: temp = 0.000000, timing cost = 362, wirelen = 14706",
        "Info: Routing globals...", "Info: Routing 8000 arcs.",
        "Info:       1000 |      119        880 |  119   880 |      6000|       5.39       5.39|",
        "Info: Routing complete.")]
    assert [stage and stage.name for stage in told] == [
        "packing", "placement", "placement, round 3", None, "placement, cells to their sites",
        "refining the placement", None, "routing clocks", "routing", "routing", "timing"]
    assert told[-3].fraction == 0 and told[-2].fraction == 0.25
