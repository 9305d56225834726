"""Carry chains without the cells and wires that only bring constants to them.

A CCU2C is two bits of a carry chain, each with four inputs A to D, a table of 16 bits and a carry::

    propagate = table[D C B A]      generate = table[0 0 B A]
    sum       = propagate ^ carry   carry's next = propagate ? carry : generate

What a chain begins with is almost always a constant: 0 for a sum, 1 for a difference. nextpnr brings it in by a CCU2C
of its own in front. Here the first bit makes its carry of its two operands alone (its table's upper part is 0, so that
nobody looks at what comes in), and its sum is an ordinary LUT's. And of the inputs that are constant, nextpnr brings a
wire to those that are 0, across the die, while those that are 1 take none: the tables are written for 1. What nobody
reads, such as the last carry of a sum, loses its net, or nextpnr would bring it out by another CCU2C.
"""

from .nets import reads

__all__ = ["constants_out_of_carries"]

CARRY, LUT = "CCU2C", "LUT4"
INPUTS, OUTPUTS = "ABCD", ("S0", "S1", "COUT")


def constants_out_of_carries(netlist, top="top"):
    """Take constant carries and constant 0 inputs out of the carry chains.

    Parameters
    ----------
    netlist : dict
        Yosys's JSON of one flat module; changed in place.

    Returns
    -------
    tuple of int
        Chains that begin without a cell in front, inputs that are no longer 0, outputs without a net.
    """
    module = netlist["modules"][top]
    cells = module["cells"]
    read = reads(module)
    begun, sums, inputs, outputs = 0, {}, 0, 0
    for name, cell in cells.items():
        if cell["type"] != CARRY:
            continue
        pins = cell["connections"]
        for pin in OUTPUTS:
            bit = pins.get(pin, ["x"])[0]
            if not _constant(bit) and not read[bit]:
                pins[pin], outputs = ["x"], outputs + 1
        if _constant(pins["CIN"][0]) and all(_constant(pins[pin][0]) for pin in ("C0", "D0")) \
                and cell["parameters"]["INJECT1_0"] == "NO":
            begun += 1
            total = _begin(cell)
            if total is not None:
                sums[f"{name}_first"] = total
        inputs += sum(_floats(cell, half) for half in range(2))
    cells |= sums
    return begun, inputs, outputs


def _constant(bit):
    return isinstance(bit, str)


def _high(bit):
    """Of a constant; what does not matter is 0."""
    return bit == "1"


def _table(cell, half):
    return int(cell["parameters"][f"INIT{half}"], 2)


def _begin(cell):
    """Begin a chain with its first bit. Returns the LUT of the sum, if anybody reads that."""
    pins, table = cell["connections"], _table(cell, 0)
    carry_in = _high(pins["CIN"][0])
    upper = 4 * _high(pins["C0"][0]) + 8 * _high(pins["D0"][0])
    carry = total = 0
    for operands in range(4):
        propagate, generate = table >> (upper + operands) & 1, table >> operands & 1
        carry |= (carry_in if propagate else generate) << operands
        total |= (propagate ^ carry_in) << operands
    cell["parameters"]["INIT0"] = f"{carry:016b}"
    pins |= {"C0": ["1"], "D0": ["1"]}
    # nextpnr wants the pins, without a net.
    output = pins.get("S0", ["x"])
    pins |= {"CIN": ["x"], "S0": ["x"]}
    if _constant(output[0]):
        return None
    return {"hide_name": 0, "type": LUT, "parameters": {"INIT": f"{total * 0x1111:016b}"},
            "attributes": dict(cell.get("attributes", {})),
            "port_directions": {**dict.fromkeys(INPUTS, "input"), "Z": "output"},
            "connections": {"A": pins["A0"], "B": pins["B0"], "C": ["0"], "D": ["0"], "Z": output}}


def _floats(cell, half):
    """Write a bit's table so that its inputs that are 0 may be 1. Returns their number."""
    pins, table, count = cell["connections"], _table(cell, half), 0
    for place, name in enumerate(INPUTS):
        bit = pins[f"{name}{half}"][0]
        if _constant(bit) and not _high(bit):
            step = 1 << place
            for index in range(16):
                if index & step:
                    table = table & ~(1 << index) | (table >> (index ^ step) & 1) << index
            pins[f"{name}{half}"], count = ["1"], count + 1
    cell["parameters"][f"INIT{half}"] = f"{table:016b}"
    return count
