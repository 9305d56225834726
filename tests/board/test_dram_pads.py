"""The memory on a real board's pins, as far as Amaranth's build plan shows it: nothing is placed or routed here."""

import re

import pytest
from amaranth.hdl import ClockDomain, Module
from olivine.board.dram import BoardMemory
from olivine.board.dram_parts import SDRAM_PARTS
from olivine_host.fpga.litedram import sdr_core

pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")
ulx3s = pytest.importorskip("amaranth_boards.ulx3s", reason="needs amaranth-boards: pip install '.[fpga]'")


@pytest.fixture(scope="module")
def files():
    platform = ulx3s.ULX3S_85F_Platform()
    part = SDRAM_PARTS["sdr-32m"]
    core = sdr_core(part, 75_000_000)
    names = ("clk", "clk_en", "cs", "we", "ras", "cas", "ba", "a", "dq", "dqm")
    ports = platform.request("sdram", dir=dict.fromkeys(names, "-"))
    m = Module()
    for domain in ("dram", "dram_pin"):
        m.domains += ClockDomain(domain)
    m.submodules.memory = BoardMemory(core, ports=ports)
    plan = platform.prepare(m, "top")
    return {name: text if isinstance(text, str) else text.decode() for name, text in plan.files.items()}, core


def _cells(text, kind):
    return len(re.findall(rf"cell \\{kind} ", text))


def test_registers_are_in_the_pins(files):
    """Value and enable of 13 + 2 + 2 + 5 outputs and 16 data lines, the clock's enable; one for each data input."""
    text = files[0]["top.il"]
    assert _cells(text, "ODDRX1F") == 1
    assert _cells(text, "IFS1P3DX") == 16
    assert _cells(text, "OFS1P3DX") == 2 * (13 + 2 + 2 + 5 + 16) + 1


def test_controller_is_among_the_files(files):
    plan, core = files
    assert plan["olivine_dram.v"] == core.text and "olivine_dram" in plan["top.il"]


def test_pins_are_constrained(files):
    text = files[0]["top.lpf"]
    for place in ("F19", "F20", "J16", "M20", "U19"):
        assert f'SITE "{place}"' in text, place
