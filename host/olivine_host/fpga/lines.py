"""Resets that reach over the die go on the FPGA's global lines, as vendors' tools do by themselves.

Yosys and nextpnr give a global line to clocks only. The reset of an engine, which ends with each job, goes to
thousands of flip-flops: as ordinary wires it takes room from everything else and is the slowest net of the design.
"""

from collections import defaultdict

__all__ = ["FEWEST", "LINES", "BUFFER", "resets_on_lines"]

FEWEST = 500
"""Flip-flops of a reset that is worth a line."""

LINES = 5
"""Resets that get one, the widest first: of the eight lines that reach what is no clock, clocks take three."""

BUFFER = "DCCA"
"""ECP5's cell that drives a global line."""


def resets_on_lines(netlist, top="top"):
    """Put a `BUFFER` between a wide reset and its flip-flops. What else reads the net, reads it as before.

    Parameters
    ----------
    netlist : dict
        Yosys's JSON of one flat module; changed in place.

    Returns
    -------
    list of int
        Flip-flops of each line.
    """
    module = netlist["modules"][top]
    readers, last = defaultdict(list), 0
    for cell in module["cells"].values():
        for port, bits in cell["connections"].items():
            last = max(last, *(bit for bit in bits if isinstance(bit, int)), 0) if bits else last
            if cell["type"] == "TRELLIS_FF" and port == "LSR" and isinstance(bits[0], int):
                readers[bits[0]].append(cell)
    wide = sorted((bit for bit, cells in readers.items() if len(cells) >= FEWEST),
                  key=lambda bit: (-len(readers[bit]), bit))[:LINES]
    for line, bit in enumerate(wide, last + 1):
        name = f"reset_line_{line - last - 1}"
        module["cells"][name] = {
            "hide_name": 0, "type": BUFFER, "parameters": {}, "attributes": {},
            "port_directions": {"CLKI": "input", "CE": "input", "CLKO": "output"},
            "connections": {"CLKI": [bit], "CE": ["1"], "CLKO": [line]}}
        module["netnames"][name] = {"hide_name": 0, "bits": [line], "attributes": {}}
        for cell in readers[bit]:
            cell["connections"]["LSR"] = [line]
    return [len(readers[bit]) for bit in wide]
