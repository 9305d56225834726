"""Nets of Yosys's JSON."""

from collections import Counter

__all__ = ["MEMORY", "reads"]

MEMORY = "DP16KD"
"""ECP5's block RAM."""


def reads(module):
    """How many inputs of cells and ports of the module have each net."""
    read = Counter(bit for cell in module["cells"].values() for port, bits in cell["connections"].items()
                   if cell["port_directions"][port] != "output" for bit in bits)
    read.update(bit for port in module.get("ports", {}).values() for bit in port["bits"])
    return read
