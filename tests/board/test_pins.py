"""The whole board's top on the pins of its platforms, as far as the build plan shows it; a stub is its core."""

import re
from pathlib import Path

import olivine
import pytest
from click.testing import CliRunner
from olivine.board import pins
from olivine.bridge.uart import divisor_of
from olivine.config import PRESETS
from olivine_host.cli import olivine as cli
from olivine_host.fpga import flow
from olivine_host.fpga.boards import BAUDS, board_baud, board_design

from tests.board.stub import StubDdr3Top, StubTop

pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")
pytest.importorskip("amaranth_boards", reason="needs amaranth-boards: pip install '.[fpga]'")

TINY = PRESETS["tiny"]


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setattr(pins, "BoardTop", StubTop)
    monkeypatch.setattr(pins, "Ddr3Top", StubDdr3Top)
    return lambda board, mhz=None, dram_mhz=None, on_chip=False: flow.prepare(
        board_design(board, "core", TINY, mhz=mhz, dram_mhz=dram_mhz, on_chip=on_chip))


def test_ulx3s(plan):
    made = plan("ulx3s-85f")
    lpf, text = made.files["top.lpf"], made.files["top.il"]
    for port, site in (("clk25_0__io", "G2"), ("uart_0__rx__io", "M1"), ("uart_0__tx__io", "L4"),
                       ("sdram_0__clk__io", "F19"), ("sdram_0__dq__io[0]", "J16"), ("led_0__io", "B2"),
                       ("led_3__io", "D2")):
        assert f'LOCATE COMP "{port}" SITE "{site}";' in lpf, port
    # Place and route derives all other clocks from this one.
    assert re.findall("FREQUENCY.*", lpf) == ['FREQUENCY PORT "clk25_0__io" 25000000.0 HZ;']
    assert len(re.findall(r"cell \\EHXPLLL ", text)) == 1 and len(re.findall(r"cell \\olivine_dram ", text)) == 1
    assert len(re.findall(r"cell \\ODDRX1F ", text)) == 1, "the memory's clock pin"
    assert "olivine_dram.v" in made.files and made.design.baud == 3_000_000
    # A folder of this machine would make other bytes elsewhere; the stub's is a test's.
    assert str(Path(olivine.__file__).parents[1]) not in text


def test_ecpix5(plan):
    made = plan("ecpix5-85f")
    lpf, text = made.files["top.lpf"], made.files["top.il"]
    for port, site in (("clk100_0__io", "K23"), ("uart_0__rx__io", "R26"), ("uart_0__tx__io", "R24"),
                       ("rgb_led_0__g__io", "R21")):
        assert f'LOCATE COMP "{port}" SITE "{site}";' in lpf, port
    # The positive pin of a pair stands for both.
    for port, site in (("ddr3_0__clk__p", "H3"), ("ddr3_0__clk_en__io", "P1"), ("ddr3_0__dq__io[0]", "T4"),
                       ("ddr3_0__dq__io[15]", "W2"), ("ddr3_0__dqs__p[1]", "V1"), ("ddr3_0__a__io[14]", "H1"),
                       ("ddr3_0__odt__io", "P3"), ("ddr3_0__we__io", "R3")):
        assert f'LOCATE COMP "{port}" SITE "{site}";' in lpf, port
    assert re.findall("FREQUENCY.*", lpf) == ['FREQUENCY PORT "clk100_0__io" 100000000.0 HZ;']
    for cell, count in (("EHXPLLL", 1), ("ECLKSYNCB", 1), ("CLKDIVF", 1), ("olivine_dram", 1), ("BB", 18)):
        assert len(re.findall(rf"cell \\{cell} ", text)) == count, cell


def test_ecpix5_on_chip(plan):
    made = plan("ecpix5-85f", on_chip=True)
    assert len(re.findall(r"cell \\EHXPLLL ", made.files["top.il"])) == 1 and "olivine_dram.v" not in made.files
    assert made.design.name == "ecpix5-85f-core-tiny-on-chip" and "ddr3" not in made.files["top.lpf"]


def test_on_chip_where_there_is_none(plan):
    with pytest.raises(ValueError, match="core on ulx3s-85f has none, allowed is core on ecpix5-85f"):
        plan("ulx3s-85f", on_chip=True)
    done = CliRunner().invoke(cli, ["bitstream", "--board", "ulx3s-85f", "--on-chip"])
    assert done.exit_code != 0 and "core on ulx3s-85f has none" in done.output
    with pytest.raises(ValueError, match="array on ecpix5-85f has none"):
        board_design("ecpix5-85f", "array", TINY, on_chip=True)


def test_frequencies(plan):
    """Another clock, another baud rate, and the controller that the memory's clock needs."""
    assert plan("ulx3s-85f", 50).design.baud == 2_000_000
    with pytest.raises(ValueError, match="cannot be made from 25 MHz"):
        plan("ulx3s-85f", 2)
    slow, fast = (plan("ulx3s-85f", 50, dram_mhz).files["top.il"] for dram_mhz in (50, None))
    assert slow != fast, "the PLL's second output"


def test_a_memory_clock_that_nothing_has(plan):
    with pytest.raises(ValueError, match="only unit core has a memory, not array"):
        board_design("ulx3s-85f", "array", TINY, dram_mhz=50.0)
    with pytest.raises(ValueError, match="the memory of ecpix5-85f is on the chip"):
        plan("ecpix5-85f", None, 50, on_chip=True)
    with pytest.raises(ValueError, match="160 MHz is more than 4 times the memory's of 33 MHz"):
        plan("ulx3s-85f", 160, 33)


@pytest.mark.parametrize("mhz", [10, 25, 40, 50, 60, 62.5, 66.667, 75, 80, 100, 125])
def test_every_clock_has_a_baud_rate(mhz):
    baud = board_baud(mhz * 1e6)
    assert baud in BAUDS and divisor_of(mhz * 1e6, baud) >= 8
    for better in BAUDS[:BAUDS.index(baud)]:
        with pytest.raises(ValueError):
            divisor_of(mhz * 1e6, better)


def test_no_baud_rate():
    with pytest.raises(ValueError, match="a clock of 0.5 MHz makes none of the serial rates 3000000"):
        board_baud(0.5e6)
