"""Timing before placement: known netlists have known delays."""

import json

import pytest
from olivine_host.fpga.estimate import slow_paths

DIRECTIONS = {"TRELLIS_FF": {"Q": "output"}, "LUT4": {"Z": "output"}, "CCU2C": {"S0": "output", "COUT": "output"},
              "DP16KD": {"DOA0": "output"}, "MULT18X18D": {"P0": "output"}, "DCCA": {"CLKO": "output"}}


def netlist(*cells, names=()):
    """Cells as ``(kind, {port: net})``; ``names`` of nets, the others are called after their numbers."""
    made, nets = {}, set()
    for index, (kind, ports) in enumerate(cells):
        made[f"cell_{index}"] = {
            "type": kind, "connections": {port: [net] for port, net in ports.items()},
            "port_directions": {port: DIRECTIONS[kind].get(port, "input") for port in ports}}
        nets |= {net for net in ports.values() if isinstance(net, int)}
    called = {net: f"unit.n{net}" for net in nets} | {net: name for name, net in names}
    netnames = {name: {"bits": [net]} for net, name in called.items()}
    return json.dumps({"modules": {"top": {"cells": made, "netnames": netnames}}})


def test_a_lut_between_registers():
    """0.52 to leave, a wire of one reader, a LUT, a wire of one reader."""
    text = netlist(("TRELLIS_FF", {"CLK": 9, "DI": 8, "Q": 1}), ("LUT4", {"A": 1, "B": "0", "Z": 2}),
                   ("TRELLIS_FF", {"CLK": 9, "DI": 2, "Q": 3}), names=[("unit.a.start", 1), ("unit.b.end", 3)])
    group, = slow_paths(text, 0, inner="unit.")
    assert group.ns == pytest.approx(0.52 + 0.6 + 0.24 + 0.6, abs=0.01)
    assert group.count == 1
    assert slow_paths(text, 2) == []


def test_fan_out_makes_a_wire_longer():
    """Four readers: 0.8 more."""
    readers = [("TRELLIS_FF", {"CLK": 9, "DI": 1, "Q": 10 + index}) for index in range(4)]
    group, = slow_paths(netlist(("TRELLIS_FF", {"CLK": 9, "DI": 8, "Q": 1}), *readers), 0)
    assert (group.ns, group.count) == (pytest.approx(0.52 + 0.6 + 0.8, abs=0.01), 4)


def test_a_carry_chain_has_no_wires_inside():
    """An operand to the carry, 0.07 for each further cell, 0.44 to the sum."""
    text = netlist(("TRELLIS_FF", {"CLK": 9, "DI": 8, "Q": 1}), ("CCU2C", {"A0": 1, "COUT": 2}),
                   ("CCU2C", {"CIN": 2, "COUT": 3}), ("CCU2C", {"CIN": 3, "S0": 4}),
                   ("TRELLIS_FF", {"CLK": 9, "DI": 4, "Q": 5}))
    group, = slow_paths(text, 0)
    assert group.ns == pytest.approx(0.52 + 0.6 + 0.45 + 0.07 + 0.44 + 0.6, abs=0.01)


def test_the_slowest_of_a_module_stands_for_it():
    """A block RAM's output is slow; both endpoints are counted, loops that nobody begins are not."""
    text = netlist(("DP16KD", {"CLKA": 9, "ADA0": 8, "DOA0": 1}), ("TRELLIS_FF", {"CLK": 9, "DI": 8, "Q": 2}),
                   ("TRELLIS_FF", {"CLK": 9, "DI": 1, "CE": 2, "Q": 3}), ("LUT4", {"A": 7, "Z": 7}),
                   names=[("unit.ram.data", 1)])
    groups = slow_paths(text, 1, inner="unit.")
    assert [(group.ns, group.count, str(group.start)) for group in groups] == [
        (pytest.approx(4.4 + 0.6, abs=0.01), 1, "ram.data"), (pytest.approx(1.12, abs=0.01), 1, "n2")]


@pytest.mark.parametrize("registers, ns", [
    ((), 0.52 + 0.6 + 3.93 + 0.6), (("INPUTA", "INPUTB"), 3.93 + 0.6), (("INPUTA", "INPUTB", "OUTPUT"), 0.74 + 0.6)])
def test_a_multiplier_with_and_without_registers(registers, ns):
    """The slowest path to what reads the product; with registers inside a wire before it is a path of its own."""
    made = json.loads(netlist(("TRELLIS_FF", {"CLK": 9, "DI": 8, "Q": 1}), ("MULT18X18D", {"A0": 1, "P0": 2}),
                              ("TRELLIS_FF", {"CLK": 9, "DI": 2, "Q": 3}), names=[("unit.b.end", 3)]))
    made["modules"]["top"]["cells"]["cell_1"]["parameters"] = {f"REG_{name}_CLK": "CLK0" for name in registers}
    groups = slow_paths(json.dumps(made), 0, inner="unit.")
    assert [group.ns for group in groups if group.end.module == "b"] == [pytest.approx(ns, abs=0.01)]


def test_a_global_line_is_as_fast_for_many():
    readers = [("TRELLIS_FF", {"CLK": 9, "DI": 7, "LSR": 2, "Q": 10 + index}) for index in range(600)]
    buffer = "DCCA", {"CLKI": 1, "CE": "1", "CLKO": 2}
    group, = slow_paths(netlist(("TRELLIS_FF", {"CLK": 9, "DI": 8, "Q": 1}), buffer, *readers), 2)
    assert (group.ns, group.count) == (pytest.approx(0.52 + 0.6 + 0.24 + 1.6, abs=0.01), 600)
