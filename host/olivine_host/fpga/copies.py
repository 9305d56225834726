"""A reset that goes to many modules gets a copy of its register in each, as vendors' tools do by themselves.

nextpnr places a register once, wherever its readers are: the wires of a reset that all modules read are as long as the
die. A copy has the same data, clock and reset as the first, so it always says the same; its readers lie around it, and
the one long wire, to all copies, comes from a register and has a cycle to itself.

A synchronizer's register, which has an asynchronous reset, is left alone: what it settles on, copies might not.

A reset that has a global line (`olivine_host.fpga.lines`) is read by LUTs too, which make other resets of it: these are
what is left of it here.
"""

import copy
from collections import defaultdict

from .lines import BUFFER
from .report import place

__all__ = ["FEWEST_READERS", "LEVELS", "resets_by_module"]

FEWEST_READERS = 100
"""Flip-flops that a register without a line resets from which on it gets copies."""

LEVELS = 3
"""Of modules that get a copy: ``core.cached.attention``, not all that is in it."""


def resets_by_module(netlist, top="top"):
    """Give each module a copy of every wide reset that is a register.

    Parameters
    ----------
    netlist : dict
        Yosys's JSON of one flat module, after `lines.resets_on_lines`; changed in place.

    Returns
    -------
    dict
        ``{register: copies}``, by the names of cells.
    """
    module = netlist["modules"][top]
    cells, last = module["cells"], 0
    registers, readers, resets = {}, defaultdict(list), defaultdict(int)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            for index, bit in enumerate(bits):
                if not isinstance(bit, int):
                    continue
                last = max(last, bit)
                if cell["port_directions"][port] == "input":
                    readers[bit].append((name, port, index))
                    resets[bit] += (cell["type"], port) == ("TRELLIS_FF", "LSR")
                elif cell["type"] == "TRELLIS_FF":
                    registers[bit] = name
    lines = {cell["connections"]["CLKI"][0] for cell in cells.values() if cell["type"] == BUFFER}
    made = {}
    for bit, name in registers.items():
        if resets[bit] < FEWEST_READERS and bit not in lines \
                or cells[name]["parameters"].get("SRMODE") == "ASYNC" and cells[name]["connections"].get("LSR"):
            continue
        groups = defaultdict(list)
        for reader in readers[bit]:
            if cells[reader[0]]["type"] != BUFFER:
                groups[_module(reader[0])].append(reader)
        for at, own in sorted(groups.items()):
            last += 1
            copied = copy.deepcopy(cells[name])
            copied["connections"]["Q"] = [last]
            called = f"{at}.reset_copy_{last}"
            cells[called] = copied
            module["netnames"][called] = {"hide_name": 0, "bits": [last], "attributes": {}}
            for reader, port, index in own:
                cells[reader]["connections"][port][index] = last
        made[name] = len(groups)
    return made


def _module(name):
    """The module of a cell, of `LEVELS` below the top."""
    return ".".join(place(name).module.split(".")[:LEVELS + 1])
