"""Resets that reach over the die go on the FPGA's global lines, as vendors' tools do by themselves.

Yosys and nextpnr give a global line to clocks only. The reset of an engine, which ends with each job, goes to
thousands of flip-flops: as ordinary wires it takes room from everything else and is the slowest net of the design.

Such a reset is ``everything's reset | ~running``. As ``running`` is 0 while everything is reset and a cycle longer, the
first half only says the same a cycle earlier, over a wire across the die: it is left out.
"""

from collections import defaultdict
from itertools import product

__all__ = ["FEWEST", "LINES", "BUFFER", "resets_on_lines"]

FEWEST = 500
"""Flip-flops of a reset that is worth a line."""

LINES = 5
"""Resets that get one, the widest first: of the eight lines that reach what is no clock, clocks take three."""

OBEYS = {"LSRMUX": "LSR", "SRMODE": "LSR_OVER_CE"}
"""A flip-flop that a reset holds whatever its enable says."""

BUFFER = "DCCA"
"""ECP5's cell that drives a global line."""


def resets_on_lines(netlist, top="top"):
    """Put a `BUFFER` between a wide reset and its flip-flops. What else reads the net, reads it as before.

    A reset of everything must last at least two cycles.

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
    _drop_what_follows(module, set(wide))
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


def _drop_what_follows(module, wide):
    """Take a reset out of the LUTs of ``wide`` nets whose other inputs, registers, it holds where they reset too."""
    drivers = {bits[0]: cell for cell in module["cells"].values() for port, bits in cell["connections"].items()
               if bits and cell["port_directions"][port] == "output" and (cell["type"], port) in (
                   ("LUT4", "Z"), ("TRELLIS_FF", "Q"))}
    for gate in (drivers[bit] for bit in wide if drivers.get(bit, {}).get("type") == "LUT4"):
        pins = {pin: gate["connections"][pin][0] for pin in "ABCD"}
        for pin, reset in pins.items():
            if isinstance(reset, int) and _holds(gate, pins, reset, drivers):
                gate["connections"][pin] = ["0"]


def _holds(gate, pins, reset, drivers):
    """Whether a LUT is 1 while ``reset`` is, and also with ``reset`` 0 as long as its other inputs are as that left
    them."""
    table = int(gate["parameters"]["INIT"], 2)
    held = {}
    for pin, bit in pins.items():
        if isinstance(bit, int) and bit != reset:
            source = drivers.get(bit, {})
            if source.get("type") != "TRELLIS_FF" or source["connections"].get("LSR") != [reset] \
                    or any(source["parameters"].get(name, value) != value for name, value in OBEYS.items()):
                return False
            held[pin] = source["parameters"].get("REGSET") == "SET"
    if not held:
        return False
    choices = [dict(zip(held, values)) for values in product((False, True), repeat=len(held))]
    return all(_look_up(table, pins, values, reset, True) for values in choices) \
        and _look_up(table, pins, held, reset, False)


def _look_up(table, pins, values, reset, level):
    """A LUT's output."""
    at = {pin: level if bit == reset else values.get(pin, bit == "1") for pin, bit in pins.items()}
    return table >> sum(at[pin] << index for index, pin in enumerate("ABCD")) & 1
