"""Designs of ECP5 cells, with models of the cells beside them."""

from dataclasses import replace
from pathlib import Path

from olivine_host.fpga.netlist import cell_models

import tb

OURS = Path(tb.__file__).parent / "netlist" / "ecp5"


def with_cells(made):
    """A design whose text knows the cells: Yosys's models, and those of `OURS` for what Yosys has none of."""
    ours = "".join(path.read_text() for path in sorted(OURS.glob("*.v")))
    return replace(made, text=f"{made.text}\n{cell_models()}\n{ours}")
