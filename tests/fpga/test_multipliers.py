"""Which registers go into a multiplier, and which stay."""

import pytest
from olivine_host.fpga.multipliers import registers_into_multipliers

WIDTH = 3
"""Bits of an operand that come from flip-flops; the others are 0."""


def register(d, q, parameters=(), **controls):
    pins = {"CLK": 2, "CE": 3, "LSR": 4, **controls, "DI": d, "Q": q}
    return {"type": "TRELLIS_FF", "parameters": {"CLKMUX": "CLK", "CEMUX": "CE", "LSRMUX": "LSR", "REGSET": "RESET",
                                                 "SRMODE": "LSR_OVER_CE", **dict(parameters)},
            "port_directions": {pin: "output" if pin == "Q" else "input" for pin in pins},
            "connections": {pin: [bit] for pin, bit in pins.items() if bit is not None}}


def netlist(changed=(), **others):
    """A multiplier of two operands from registers: bit ``i`` of ``DI`` is 100 + i, of ``Q`` 200 + i; the last register
    as ``changed`` says."""
    count = 2 * WIDTH
    cells = {f"register_{index}": register(100 + index, 200 + index, **dict(changed if index == count - 1 else ()))
             for index in range(count)}
    inputs = {f"{operand}{index}": "0" for operand in "AB" for index in range(18)}
    inputs |= {f"{operand}{index}": 200 + WIDTH * place + index for place, operand in enumerate("AB")
               for index in range(WIDTH)}
    cells["multiplier"] = {
        "type": "MULT18X18D", "parameters": {},
        "port_directions": {**dict.fromkeys(inputs, "input"), "P0": "output"},
        "connections": {**{port: [bit] for port, bit in inputs.items()}, "P0": [300]}}
    return {"modules": {"top": {"cells": {**cells, **others}, "ports": {}}}}


def test_registers_move():
    made = netlist()
    assert registers_into_multipliers(made) == 1
    (name, multiplier), = made["modules"]["top"]["cells"].items()
    pins = multiplier["connections"]
    assert name == "multiplier" and (pins["CLK0"], pins["CE0"], pins["RST0"]) == ([2], [3], [4])
    assert [pins[f"{operand}{index}"] for operand in "AB" for index in range(WIDTH)] == [
        [100 + index] for index in range(2 * WIDTH)]
    assert pins["A17"] == ["0"] and pins["P0"] == [300]
    assert multiplier["parameters"] == {f"REG_INPUT{operand}_{pin}": f"{pin}0" for operand in "AB"
                                        for pin in ("CLK", "CE", "RST")}


def test_without_enable_and_reset():
    made = netlist()
    for cell in made["modules"]["top"]["cells"].values():
        if cell["type"] == "TRELLIS_FF":
            cell["parameters"]["CEMUX"] = "1 "
            del cell["connections"]["CE"], cell["connections"]["LSR"]
    assert registers_into_multipliers(made) == 1
    pins = made["modules"]["top"]["cells"]["multiplier"]["connections"]
    assert (pins["CE0"], pins["RST0"]) == (["1"], ["0"])


def test_a_register_with_another_reader_stays_beside():
    gate = {"type": "LUT4", "parameters": {}, "port_directions": {"A": "input", "Z": "output"},
            "connections": {"A": [202], "Z": [400]}}
    made = netlist(gate=gate)
    assert registers_into_multipliers(made) == 1
    assert set(made["modules"]["top"]["cells"]) == {"multiplier", "gate", "register_2"}


@pytest.mark.parametrize("changed", [
    {"CLK": 7}, {"CE": 7}, {"LSR": 7}, {"LSR": None}, {"M": 7}, {"parameters": {"REGSET": "SET"}},
    {"parameters": {"CLKMUX": "INV"}}, {"parameters": {"LSRMUX": "INV"}}, {"parameters": {"CEMUX": "INV"}},
    {"parameters": {"SRMODE": "ASYNC"}}], ids=str)
def test_registers_that_differ_stay(changed):
    made = netlist(changed)
    assert registers_into_multipliers(made) == 0
    assert len(made["modules"]["top"]["cells"]) == 2 * WIDTH + 1


def test_registers_behind_a_memory_stay():
    memory = {"type": "DP16KD", "parameters": {}, "port_directions": {"ADA0": "input", "DOA0": "output"},
              "connections": {"ADA0": [100], "DOA0": [104]}}
    assert registers_into_multipliers(netlist(memory=memory)) == 0
    # One that the operands only address does not matter.
    memory["connections"]["DOA0"] = [500]
    assert registers_into_multipliers(netlist(memory=memory)) == 1


def test_registers_that_are_there_stay():
    made = netlist()
    made["modules"]["top"]["cells"]["multiplier"]["parameters"]["REG_OUTPUT_CLK"] = "CLK0"
    assert registers_into_multipliers(made) == 0


def test_an_operand_that_is_no_register():
    made = netlist()
    made["modules"]["top"]["cells"]["multiplier"]["connections"]["B17"] = [9]
    assert registers_into_multipliers(made) == 0
