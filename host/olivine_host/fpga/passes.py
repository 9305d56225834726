"""What is done to cells between Yosys and nextpnr, for a board's bitstream and for the netlist that is simulated."""

from .carries import constants_out_of_carries
from .multipliers import registers_into_multipliers

__all__ = ["PASSES", "improve"]

PASSES = "registers in multipliers but not behind memories, constants out of carries"
"""A part of what results are kept by: to be changed with `improve`."""


def improve(netlist, top="top"):
    """Change Yosys's JSON of one flat module in place."""
    registers_into_multipliers(netlist, top)
    constants_out_of_carries(netlist, top)
