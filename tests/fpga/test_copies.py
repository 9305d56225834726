"""Which resets get copies, where, and that every reader keeps what it reads."""

import pytest
from olivine_host.fpga import copies
from olivine_host.fpga.lines import BUFFER


def cell(kind, mode="LSR_OVER_CE", **nets):
    return {"type": kind, "parameters": {"SRMODE": mode, "REGSET": "SET"},
            "port_directions": {port: "output" if port in ("Q", "Z", "CLKO") else "input" for port in nets},
            "connections": {port: [bit] for port, bit in nets.items()}}


def readers(module, count, reset):
    """Flip-flops of a module."""
    return {f"top.{module}.r{index}_TRELLIS_FF_Q": cell("TRELLIS_FF", CLK=2, DI=3, LSR=reset) for index in range(count)}


def netlist(*groups, **others):
    cells = {name: made for group in groups for name, made in group.items()} | others
    return {"modules": {"top": {"cells": cells, "netnames": {}}}}


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    monkeypatch.setattr(copies, "FEWEST_READERS", 5)


def reset_of(made, name):
    return made["modules"]["top"]["cells"][name]["connections"]["LSR"]


def test_a_copy_for_each_module():
    """The same data and clock; modules below the third level share one."""
    made = netlist(readers("a", 3, 10), readers("b.c.d", 2, 10), readers("b.c.d.e", 2, 10),
                   held=cell("TRELLIS_FF", CLK=2, DI=4, Q=10))
    assert copies.resets_by_module(made) == {"held": 2}
    cells = made["modules"]["top"]["cells"]
    new = {name: made for name, made in cells.items() if "reset_copy" in name}
    assert sorted(name.rpartition(".")[0] for name in new) == ["top.a", "top.b.c.d"]
    driven = {name.rpartition(".")[0]: copied["connections"].pop("Q") for name, copied in new.items()}
    held = cells["held"]
    for copied in new.values():
        assert copied["parameters"] == held["parameters"]
        assert copied["connections"] == {port: bits for port, bits in held["connections"].items() if port != "Q"}
    assert len({10, *(bit for bits in driven.values() for bit in bits)}) == 3
    for name in cells:
        if "TRELLIS_FF" in name:
            assert reset_of(made, name) == driven["top.a" if name.startswith("top.a") else "top.b.c.d"], name


def test_few_readers_need_none():
    made = netlist(readers("a", 4, 10), held=cell("TRELLIS_FF", CLK=2, DI=4, Q=10))
    assert copies.resets_by_module(made) == {}
    assert len(made["modules"]["top"]["cells"]) == 5


def test_what_a_line_leaves():
    """The line is read from the first; a LUT in a module reads that module's copy."""
    gates = {f"top.{name}.x_LUT4_Z": cell("LUT4", A=10, Z=20 + index) for index, name in enumerate("ab")}
    made = netlist(gates, held=cell("TRELLIS_FF", CLK=2, DI=4, Q=10), line=cell(BUFFER, CLKI=10, CLKO=30))
    assert copies.resets_by_module(made) == {"held": 2}
    cells = made["modules"]["top"]["cells"]
    assert cells["line"]["connections"]["CLKI"] == [10]
    inputs = [cells[name]["connections"]["A"][0] for name in gates]
    assert len({10, *inputs}) == 3


def test_synchronizers_are_left_alone():
    made = netlist(readers("a", 9, 10), held=cell("TRELLIS_FF", "ASYNC", CLK=2, DI=4, LSR=5, Q=10))
    assert copies.resets_by_module(made) == {}


def test_resets_made_by_gates_are_left_alone():
    made = netlist(readers("a", 9, 10), gate=cell("LUT4", A=4, Z=10))
    assert copies.resets_by_module(made) == {}
