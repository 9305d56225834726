"""The boards, and what is put on them: the whole accelerator, or a unit alone between shift registers."""

import importlib
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from olivine.board.dram_parts import DDR3_PARTS, SDRAM_PARTS
from olivine.bridge.uart import divisor_of
from olivine.units import UNITS

__all__ = ["Board", "BOARDS", "CAPACITY", "BAUDS", "BoardDesign", "board_design", "board_baud", "unit_names", "CORE",
           "harnessed"]

CORE = "core"
"""The unit that is the whole accelerator, with the board's memory and its link to the host."""

CAPACITY = {"LFE5U-85F": {"LUT4": 83_640, "TRELLIS_FF": 83_640, "MULT18X18D": 156, "DP16KD": 208, "EHXPLLL": 4}}
CAPACITY["LFE5UM5G-85F"] = CAPACITY["LFE5U-85F"]
"""What a part has of each kind of cell; nextpnr counts a LUT4 as a TRELLIS_COMB."""

BAUDS = (3_000_000, 2_000_000, 1_500_000, 1_000_000, 921_600, 460_800, 230_400, 115_200)
"""Rates of the serial line, the wanted first: those that USB adapters make exactly."""


@dataclass(frozen=True)
class Board:
    """A board.

    Parameters
    ----------
    name : str
    what : str
        Part and board in words.
    platform : str
        ``module:Class`` of its description in ``amaranth_boards``.
    part : str
        Device, speed grade and package.
    device : str
        Key of `CAPACITY`.
    clock_mhz : float
        Of its oscillator.
    scan_in, scan_out : str
        Pins for a unit alone: a button or the serial port.
    core_mhz : float
        Clock of the core, unless another is asked for.
    dram : str or None
        Memory of the core: a part of `SDRAM_PARTS` or `DDR3_PARTS`. None: `words` of the FPGA's own.
    dram_mhz : float
        Clock of the memory's controller, which is the memory's, of DDR3 half of it.
    words : int
        Beats of memory on chip, where there is no ``dram``, or it is not wanted.
    lights : tuple of (str, str or None)
        See `olivine.board.pins.PinnedTop`.
    """

    name: str
    what: str
    platform: str
    part: str
    device: str
    clock_mhz: float
    scan_in: str
    scan_out: str
    core_mhz: float
    dram: str | None = None
    dram_mhz: float = 75.0
    words: int = 0
    lights: tuple = ()

    @property
    def capacity(self):
        return CAPACITY[self.device]

    def make_platform(self):
        """A platform of Amaranth; each serves one design."""
        from amaranth.build import Attrs, Pins, Resource, Subsignal
        module, _, name = self.platform.partition(":")
        platform = getattr(importlib.import_module(module), name)()
        platform.add_resources([Resource(
            "scan", 0, Subsignal("i", Pins(self.scan_in, dir="i")), Subsignal("o", Pins(self.scan_out, dir="o")),
            Attrs(IO_TYPE="LVCMOS33"))])
        return platform


BOARDS = {
    "ulx3s-85f": Board("ulx3s-85f", "Radiona ULX3S with LFE5U-85F", "amaranth_boards.ulx3s:ULX3S_85F_Platform",
                       "LFE5U-85F-6BG381", "LFE5U-85F", 25.0, "R1", "B2", 62.5, dram="sdr-32m", dram_mhz=62.5,
                       lights=(("led", None),) * 4),
    "ecpix5-85f": Board("ecpix5-85f", "LambdaConcept ECPIX-5 with LFE5UM5G-85F",
                        "amaranth_boards.ecpix5:ECPIX585Platform", "LFE5UM5G-85F-8BG554", "LFE5UM5G-85F", 100.0,
                        "R26", "R24", 75.0, dram="mt41k256m16", words=1 << 14,
                        lights=(("rgb_led", "g"),) * 4),
}


@dataclass
class BoardDesign:
    """What the flow builds.

    Parameters
    ----------
    name : str
        Names files and folders.
    component : wiring.Component
        The top, which asks the platform for its pins.
    board : Board
    preset : str
    pin_mhz : float or None
        Frequency to which the board's clock pin is constrained, in place of its oscillator's: for a unit alone, which
        has no PLL.
    inner : str
        Beginning of hierarchical names that reports leave out.
    baud : int or None
        Rate of its serial line; None of a unit alone, which has none.
    """

    name: str
    component: Any
    board: Board
    preset: str = ""
    pin_mhz: float | None = None
    inner: str = ""
    baud: int | None = None


def unit_names():
    """Units that can be built: the board's whole top, and every other alone."""
    return [CORE, *(name for name in UNITS if name != CORE)]


def harnessed(name, component, board, preset, mhz=None):
    """A component alone on a board, its clock pin constrained to ``mhz``, or to the board's oscillator."""
    from olivine.board.harness import HarnessTop
    return BoardDesign(name, HarnessTop(component), board, preset, mhz, "harness.unit.")


def board_design(board, unit, config, *, mhz=None, dram_mhz=None, on_chip=False):
    """A unit on a board.

    Parameters
    ----------
    board : str or Board
    unit : str
        One of `unit_names`.
    config : AcceleratorConfig
    mhz : float or None
        Clock of the design: of ``core`` what its PLL makes, of others what the clock pin is constrained to; None for
        the board's own choice.
    dram_mhz : float or None
        Clock of the controller of the memory of ``core``; None for the board's own.
    on_chip : bool
        ``core`` has memory on the chip, though the board has another.

    Raises
    ------
    ValueError
        If board or unit are unknown, or the clock cannot be made.
    LiteDramMissing
        If the core needs a memory controller, and its generator is not installed.
    """
    if not isinstance(board, Board):
        if board not in BOARDS:
            raise ValueError(f"board is {board!r}: allowed are {', '.join(BOARDS)}")
        board = BOARDS[board]
    name = f"{board.name}-{unit}-{config.name}"
    if on_chip:
        if unit != CORE or not board.words:
            raise ValueError(f"memory on the chip is asked for: {unit} on {board.name} has none, allowed is {CORE} on "
                             + ", ".join(other.name for other in BOARDS.values() if other.words))
        board, name = replace(board, dram=None), f"{name}-on-chip"
    if unit == CORE:
        if dram_mhz is not None and board.dram is None:
            raise ValueError(f"a memory's clock of {dram_mhz:g} MHz is asked for: the memory of {board.name} is on the "
                             "chip and has the core's")
        return _core_design(name, board, config, mhz or board.core_mhz, dram_mhz or board.dram_mhz)
    if unit not in UNITS:
        raise ValueError(f"unit is {unit!r}: allowed are {', '.join(unit_names())}")
    if dram_mhz is not None:
        raise ValueError(f"a memory's clock of {dram_mhz:g} MHz is asked for: only unit {CORE} has a memory, "
                         f"not {unit}")
    return harnessed(name, UNITS[unit].build(config), board, config.name, mhz)


def board_baud(clock):
    """The best of `BAUDS` that a clock of so many hertz makes.

    Raises
    ------
    ValueError
        If it makes none.
    """
    for baud in BAUDS:
        with suppress(ValueError):
            divisor_of(clock, baud)
            return baud
    raise ValueError(f"a clock of {clock / 1e6:g} MHz makes none of the serial rates "
                     f"{', '.join(map(str, BAUDS))}: choose another --freq")


def _core_design(name, board, config, mhz, dram_mhz):
    from olivine.board.clocks import plan_pll
    from olivine.board.pins import PinnedTop
    from olivine.board.top import BUS_ID_BITS, MOST_RATIO

    from .litedram import ddr3_core, sdr_core
    if board.dram and mhz > MOST_RATIO * dram_mhz:
        raise ValueError(f"the core's clock of {mhz:g} MHz is more than {MOST_RATIO} times the memory's of "
                         f"{dram_mhz:g} MHz, which their common reset does not allow")
    ddr3 = DDR3_PARTS.get(board.dram)
    pll = plan_pll(board.clock_mhz, mhz, (2 * dram_mhz if ddr3 else dram_mhz) if board.dram else None)
    clock = round(pll.core_mhz * 1e6)
    baud = board_baud(clock)
    if ddr3:
        memory = {"dram": ddr3_core(ddr3, round(pll.dram_mhz * 1e6 / 2), id_width=BUS_ID_BITS)}
    elif board.dram:
        memory = {"dram": sdr_core(SDRAM_PARTS[board.dram], round(pll.dram_mhz * 1e6), bus_bits=config.bus_bits,
                                   id_width=BUS_ID_BITS)}
    else:
        memory = {"words": board.words}
    top = PinnedTop(config, divisor_of(clock, baud), pll, lights=board.lights, **memory)
    return BoardDesign(name, top, board, config.name, inner="top.", baud=baud)
