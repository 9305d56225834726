"""Which resets go on global lines, and that nothing else moves."""

import json

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from olivine_host.fpga import flow, lines
from olivine_host.fpga.boards import BOARDS, harnessed


def cell(kind, **nets):
    return {"type": kind, "port_directions": {port: "output" if port in "QZ" else "input" for port in nets},
            "connections": {port: [bit] for port, bit in nets.items()}}


def netlist(groups, **others):
    """Flip-flops by their reset, ``{bit: count}``, and other cells."""
    cells = {f"{bit}_{index}": cell("TRELLIS_FF", CLK=2, DI=3, LSR=bit, Q=1_000 * (group + 1) + index)
             for group, (bit, count) in enumerate(groups.items()) for index in range(count)}
    return {"modules": {"top": {"cells": {**cells, **others}, "netnames": {}}}}


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    monkeypatch.setattr(lines, "FEWEST", 5)


def test_wide_resets_get_lines():
    made = netlist({10: 7, 11: 4, 12: 5})
    assert lines.resets_on_lines(made) == [7, 5]
    module = made["modules"]["top"]
    buffers = {name: cell for name, cell in module["cells"].items() if cell["type"] == lines.BUFFER}
    assert [cell["connections"]["CLKI"] for cell in buffers.values()] == [[10], [12]]
    given = {cell["connections"]["CLKI"][0]: cell["connections"]["CLKO"] for cell in buffers.values()}
    for name, cell in module["cells"].items():
        if name not in buffers:
            own = int(name.split("_")[0])
            assert cell["connections"]["LSR"] == given.get(own, [own]), name
    # Nets of their own, each with one driver.
    driven = [bit for cell in module["cells"].values() for port, bits in cell["connections"].items()
              if cell["port_directions"][port] == "output" for bit in bits]
    assert len(driven) == len(set(driven)) == 18
    assert [net["bits"] for net in module["netnames"].values()] == list(given.values())


def test_other_readers_of_a_reset_stay():
    gate = cell("LUT4", A=10, Z=40)
    made = netlist({10: 6}, gate=gate)
    lines.resets_on_lines(made)
    assert gate["connections"]["A"] == [10]


def test_constant_resets_are_none():
    assert lines.resets_on_lines(netlist({"0": 9})) == []


def test_the_widest_of_many():
    made = netlist({bit: 5 + bit for bit in range(10, 13 + lines.LINES)})
    assert lines.resets_on_lines(made) == [5 + bit for bit in reversed(range(13, 13 + lines.LINES))]


def engine(table, regset="RESET", own=2, mode="LSR_OVER_CE"):
    """What a LUT that makes a reset reads of net 2, everything's; it reads ``running`` too, which ``own`` resets."""
    lut = cell("LUT4", A="0", B="0", C=2, D=3, Z=10)
    lut["parameters"] = {"INIT": f"{table:016b}"}
    running = cell("TRELLIS_FF", CLK=4, DI=5, LSR=own, Q=3)
    running["parameters"] = {"LSRMUX": "LSR", "REGSET": regset, "SRMODE": mode}
    made = netlist({10: 6}, lut=lut, running=running)
    lines.resets_on_lines(made)
    return lut["connections"]["C"]


RESET_OR_IDLE = 0xF0FF
"""C | ~D"""


def test_a_reset_that_its_register_keeps_up():
    assert engine(RESET_OR_IDLE) == ["0"]


@pytest.mark.parametrize("table, regset, own", [
    (RESET_OR_IDLE, "SET", 2),      # the register runs after a reset
    (RESET_OR_IDLE, "RESET", 6),    # another reset holds it
    (0x00FF, "RESET", 2),           # the gate does not ask for the reset
    (0x00F0, "RESET", 2),           # of both at once
    (0xFFF0, "RESET", 2),           # C | D
], ids=["set", "other", "without", "and", "or"])
def test_a_reset_that_is_needed(table, regset, own):
    assert engine(table, regset, own) == [2]


def test_a_register_whose_enable_goes_before_its_reset_keeps_nothing_up():
    assert engine(RESET_OR_IDLE, mode="CE_OVER_LSR") == [2]


class Held(wiring.Component):
    """Registers under a reset of their own."""

    i: In(8)
    o: Out(8)
    clear: In(1)

    def elaborate(self, platform):
        m = Module()
        inner = Module()
        state = Signal(8)
        inner.d.sync += state.eq(state + self.i)
        m.submodules += ResetInserter(self.clear)(inner)
        m.d.comb += self.o.eq(state)
        return m


def test_nextpnr_takes_them(tmp_path, monkeypatch):
    monkeypatch.setenv("OLIVINE_BUILD", str(tmp_path))
    synthesis = flow.synthesize(flow.prepare(harnessed("held", Held(), BOARDS["ulx3s-85f"], "", 100.0)))
    cells = json.loads((synthesis.folder / "top.json").read_text())["modules"]["top"]["cells"]
    assert sum(cell["type"] == lines.BUFFER for cell in cells.values()) == 1
    routed = flow.place_and_route(synthesis)
    log = (routed.folder / "log").read_text()
    assert "routing clock net reset_line_0 using global" in log
