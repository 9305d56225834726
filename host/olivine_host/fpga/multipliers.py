"""Registers in front of a multiplier go into it, as vendors' tools do by themselves.

ECP5's MULT18X18D has registers at its inputs, and Yosys leaves them unused: a product then begins in the fabric, with a
wire across the die, as multipliers stand in three rows. Where all bits of both operands come from flip-flops that are
clocked, enabled and reset alike, the multiplier takes their place: the same cycle, without that wire.

Registers behind a block RAM stay: its outputs are slower than a multiplier, and need a register near by.
"""

from .nets import MEMORY, reads

__all__ = ["registers_into_multipliers"]

MULTIPLIER, REGISTER = "MULT18X18D", "TRELLIS_FF"
BITS = 18

LIKE = {"CLKMUX": ("CLK",), "LSRMUX": ("LSR",), "REGSET": ("RESET",), "SRMODE": ("LSR_OVER_CE",),
        "CEMUX": ("CE", "1", "1 ")}
"""What the multiplier's own registers do: begin at 0, and a reset goes before the enable."""


def registers_into_multipliers(netlist, top="top"):
    """Move input registers into multipliers; flip-flops that nobody else reads are gone.

    Parameters
    ----------
    netlist : dict
        Yosys's JSON of one flat module; changed in place.

    Returns
    -------
    int
        Multipliers that got registers.
    """
    module = netlist["modules"][top]
    cells = module["cells"]
    registers = {cell["connections"]["Q"][0]: (name, cell) for name, cell in cells.items() if cell["type"] == REGISTER}
    remembered = {bit for cell in cells.values() if cell["type"] == MEMORY
                  for port, bits in cell["connections"].items() if cell["port_directions"][port] == "output"
                  for bit in bits}
    moved, left = 0, set()
    for cell in cells.values():
        if cell["type"] != MULTIPLIER or any(name.startswith("REG_") for name in cell["parameters"]):
            continue
        controls, data = _controls(cell, registers)
        if controls is None or not remembered.isdisjoint(data.values()):
            continue
        clock, enable, reset = controls
        for operand in "AB":
            cell["parameters"] |= {f"REG_INPUT{operand}_{pin}": f"{pin}0" for pin in ("CLK", "CE", "RST")}
        for port, bit in {**data, "CLK0": clock, "CE0": enable, "RST0": reset}.items():
            old = cell["connections"].get(port, [None])[0]
            left.add(old)
            cell["connections"][port] = [bit]
            cell["port_directions"][port] = "input"
        moved += 1
    read = reads(module)
    for bit in left & set(registers):
        if not read[bit]:
            del cells[registers[bit][0]]
    return moved


def _controls(multiplier, registers):
    """Clock, enable and reset of the registers of both operands, and what these are given by port; or None, None."""
    controls, data = set(), {}
    for port in (f"{operand}{index}" for operand in "AB" for index in range(BITS)):
        bit = multiplier["connections"].get(port, ["0"])[0]
        if bit == "0":
            continue
        _, register = registers.get(bit, (None, None))
        if register is None or any(register["parameters"].get(name, allowed[0]) not in allowed
                                   for name, allowed in LIKE.items()) or "M" in register["connections"]:
            return None, None
        pins = register["connections"]
        enabled = register["parameters"].get("CEMUX", "CE") == "CE"
        controls.add((pins["CLK"][0], pins["CE"][0] if enabled else "1", *(pins.get("LSR") or ["0"])))
        data[port] = pins["DI"][0]
    return (*controls, data) if len(controls) == 1 else (None, None)
