"""Carry chains before and after their constants are taken out, by a model of the cell."""

from itertools import product

import pytest
from olivine_host.fpga.carries import constants_out_of_carries

ADD = f"{0x96AA:016b}"
"""The table by which Yosys adds: propagate A ^ B ^ C, generate A, where D is 1 and C inverts B."""

A, B, SUM, CARRIES = 100, 200, 300, 400


def chain(width, carry_in, inverts, first_b=None, last=False):
    """``A + (B ^ inverts) + carry_in``, of two bits a cell; without ``last`` nobody reads the last carry."""
    cells = {}
    for index in range(0, width, 2):
        pins = {"CIN": carry_in if index == 0 else CARRIES + index, "COUT": CARRIES + index + 2}
        for half in range(2):
            bit = index + half
            pins |= {f"A{half}": A + bit, f"B{half}": first_b if first_b is not None and bit == 0 else B + bit,
                     f"C{half}": inverts, f"D{half}": "1", f"S{half}": SUM + bit}
        cells[f"slice_{index}"] = {
            "type": "CCU2C", "parameters": {"INIT0": ADD, "INIT1": ADD, "INJECT1_0": "NO", "INJECT1_1": "NO"},
            "port_directions": {pin: "output" if pin in ("S0", "S1", "COUT") else "input" for pin in pins},
            "connections": {pin: [bit] for pin, bit in pins.items()}}
    read = [SUM + bit for bit in range(width)] + ([CARRIES + width] if last else [])
    return {"modules": {"top": {"cells": cells, "ports": {"o": {"direction": "output", "bits": read}}}}}


def values(netlist, known):
    """Values of all nets. A first carry without a net is anything: both are tried, and nobody may see a difference."""
    known = dict(known)

    def of(bit):
        return {"0": 0, "1": 1, "x": 0}.get(bit, known.get(bit))

    for cell in netlist["modules"]["top"]["cells"].values():
        pins = {pin: of(bits[0]) for pin, bits in cell["connections"].items()}
        if cell["type"] == "LUT4":
            index = sum(pins[name] << place for place, name in enumerate("ABCD"))
            known[cell["connections"]["Z"][0]] = int(cell["parameters"]["INIT"], 2) >> index & 1
            continue
        carries = set()
        for free in (0, 1) if cell["connections"]["CIN"] == ["x"] else (pins["CIN"],):
            carry = free
            for half in range(2):
                table = int(cell["parameters"][f"INIT{half}"], 2)
                index = sum(pins[f"{name}{half}"] << place for place, name in enumerate("ABCD"))
                propagate, generate = table >> index & 1, table >> (index & 3) & 1
                known[cell["connections"][f"S{half}"][0]] = propagate ^ carry
                carry = carry if propagate else generate
            carries.add(carry)
        (known[cell["connections"]["COUT"][0]],) = carries
    return known


@pytest.mark.parametrize("carry_in, inverts, first_b", [
    ("0", "0", None), ("1", "1", None), ("1", "0", None), ("0", "1", None), ("0", "0", "1"), ("1", "1", "0")])
def test_sums_stay(carry_in, inverts, first_b):
    width = 4
    before = chain(width, carry_in, inverts, first_b, last=True)
    after = chain(width, carry_in, inverts, first_b, last=True)
    begun, inputs, outputs = constants_out_of_carries(after)
    assert (begun, outputs) == (1, 0) and inputs == (inverts == "0") * (width - 1) + (first_b == "0")
    cells = after["modules"]["top"]["cells"]
    assert "0" not in {bits[0] for cell in cells.values() if cell["type"] == "CCU2C"
                       for bits in cell["connections"].values()}
    for a, b in product(range(1 << width), repeat=2):
        known = {base + bit: value >> bit & 1 for base, value in ((A, a), (B, b)) for bit in range(width)}
        expected, found = values(before, known), values(after, known)
        wanted = (a + ((b & ~1 | int(first_b) if first_b else b) ^ 15 * int(inverts)) + int(carry_in)) & 31
        nets = [SUM + bit for bit in range(width)] + [CARRIES + width]
        assert sum(expected[net] << place for place, net in enumerate(nets)) == wanted
        assert [found[net] for net in nets] == [expected[net] for net in nets]


def test_what_nobody_reads_has_no_net():
    netlist = chain(2, "1", "1")
    netlist["modules"]["top"]["ports"]["o"]["bits"] = [SUM + 1]
    assert constants_out_of_carries(netlist) == (1, 0, 2)
    (cell,) = netlist["modules"]["top"]["cells"].values()
    assert cell["connections"]["S0"] == cell["connections"]["COUT"] == ["x"]


@pytest.mark.parametrize("changed", [{"CIN": [7]}, {"C0": [8]}])
def test_a_carry_from_elsewhere_stays(changed):
    netlist = chain(2, "0", "1", last=True)
    (cell,) = netlist["modules"]["top"]["cells"].values()
    cell["connections"] |= changed
    assert constants_out_of_carries(netlist) == (0, 0, 0)
    assert cell["connections"]["CIN"] == changed.get("CIN", ["0"])
