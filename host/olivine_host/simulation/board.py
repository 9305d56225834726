"""A whole board in a simulator, behind a pseudo-terminal: what a host sees of it is what it sees of a board.

The design is that of the bitstream (`olivine.board.top.BoardTop`) but for the PLL and the cells of the pins, on
Verilator, with a model of the memory chip that refuses what its data sheet forbids.
"""

import json
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import count
from pathlib import Path

from olivine.board.ddr3_top import Ddr3Top
from olivine.board.dram_parts import DDR3_PARTS, SDRAM_PARTS, Ddr3Core
from olivine.board.top import BUS_ID_BITS, BoardTop
from olivine.verilog import Design, design

from .. import toolchain
from ..board.pty import PseudoTerminal
from . import ddr3
from .build import build_root, cached, digest, log_tail
from .designs import gateware_digest
from .native import VERILATOR_FLAGS, BuildError

__all__ = ["SDRAM", "DIVISOR", "MAX_PAYLOAD", "BoardCounts", "SimulatedBoard", "chip_parameters",
           "board_controller", "build_board"]

HERE = Path(__file__).parent

NAME = "olivine_board"
"""Of the top's module."""

SDRAM = HERE / "sdram.v"
"""The model of a memory chip."""

DIVISOR = 8
"""Cycles of a bit on the simulated line: the fewest that a UART takes."""

MAX_PAYLOAD = 256
"""Of the simulated bridge: a frame should not keep a host waiting for seconds."""

CORE_PS, DRAM_MHZ = 13_334, 75
"""Period of the core's clock, and the memory's clock: near each other, and unrelated."""

_serial = count()


def chip_parameters(part):
    """Parameters of the model in sdram.v for a `SdramPart`, by name."""
    times = {name: round(1000 * getattr(part, name.replace("_", ""))) for name in (
        "t_RCD", "t_RP", "t_RAS", "t_RC", "t_RFC", "t_RRD", "t_WR", "t_REFI")}
    return {
        "ROW_BITS": part.row_bits, "COLUMN_BITS": part.column_bits, "BANK_BITS": part.bank_bits,
        "DATA_BITS": part.data_bits, **{name.upper(): value for name, value in times.items()},
        "T_MRD": part.tMRD, "POWER_UP": round(1000 * part.power_up), "REFRESHES": part.refreshes,
        **{f"T_AC{cas}": round(1000 * value) for cas, value in part.tAC.items()},
        **{f"T_CK{cas}": round(1000 * value) for cas, value in part.tCK.items()},
        "T_OH": round(1000 * min(part.tOH.values()))}


DDR3_ROW_BITS = 11
"""Of a simulated DDR3 chip: 32 MiB, where the real one's rows would fill the simulating machine's memory."""

INIT_PS = 40_000
"""Period of the clock that sets up a DDR3 PHY's delays."""


def _board_design(config, dram, words):
    """The top's Verilog, kept between runs."""
    options = {"divisor": DIVISOR, "max_payload": MAX_PAYLOAD, "words": words}

    def make(folder):
        top = Ddr3Top if isinstance(dram, Ddr3Core) else BoardTop
        made = design(top(config, dram=dram, **options), NAME)
        (folder / "design.v").write_text(made.text)
        (folder / "design.json").write_text(json.dumps({"name": made.name, "ports": made.ports}))

    key = digest(gateware_digest(), config, dram and (dram.text, dram.steps), options)
    folder = cached(f"board-{config.name}-{key}", make, kind="verilog")
    described = json.loads((folder / "design.json").read_text())
    return Design(described["name"], (folder / "design.v").read_text(), described["ports"])


def board_controller(config, part="sdr-32m"):
    """The controller of a simulated board's memory, of a part of `SDRAM_PARTS` or `DDR3_PARTS`."""
    from ..fpga.litedram import ddr3_core, sdr_core
    if part in DDR3_PARTS:
        return ddr3_core(replace(DDR3_PARTS[part], row_bits=DDR3_ROW_BITS), DRAM_MHZ * 10**6, id_width=BUS_ID_BITS)
    return sdr_core(SDRAM_PARTS[part], DRAM_MHZ * 10**6, bus_bits=config.bus_bits, id_width=BUS_ID_BITS)


def build_board(config, dram="sdr-32m", words=None, top=None):
    """The program of a simulated board, built if it was not before; its path.

    Parameters
    ----------
    config : AcceleratorConfig
    dram : str or None
        Part of `SDRAM_PARTS` or `DDR3_PARTS`; None for memory on chip.
    words : int
        Beats of memory on chip.
    top : BoardTop or None
        In the place of the one that would be made: with `DIVISOR`, and `board_controller` if there is ``dram``.

    Raises
    ------
    BuildError, ToolMissing, LiteDramMissing
    """
    core, tool = dram and board_controller(config, dram), toolchain.simulator("verilator")
    made = design(top, NAME) if top else _board_design(config, core, words)
    sources, defines, parameters = [HERE / "board.v", HERE / "board.cpp"], [f"-DOLIVINE_TOP={made.name}"], {}
    if dram in DDR3_PARTS:
        sources = [HERE / "board_ddr3.v", HERE / "board.cpp", ddr3.PRIMITIVES, ddr3.CHIP]
        parameters = ddr3.ddr3_parameters(core.part)
    elif core:
        sources.append(SDRAM)
        parameters = chip_parameters(core.part)
    if core:
        chip = ", ".join(f".{name}({value})" for name, value in parameters.items())
        defines.append(f"-DOLIVINE_CHIP={chip}")
    text = made.text + (core.text if core else "")
    # Widths of the chip's pins.
    defines += [f"-DOLIVINE_{port['name'].upper()}={port['width']}" for port in made.ports
                if port["name"].startswith("pins__")]
    key = digest(text, *(path.read_text() for path in sources), tool, VERILATOR_FLAGS, defines)

    def make(folder):
        (folder / "design.v").write_text(text)
        log = folder / "build.log"
        command = [tool.path, *VERILATOR_FLAGS, "--timescale", "1ns/1ps", "-j", str(os.cpu_count()), "--Mdir", "obj",
                   "-o", "simulation", *defines, "design.v", *map(str, sources)]
        with open(log, "w") as file:
            done = subprocess.run(command, cwd=folder, env=tool.env(), stdout=file, stderr=subprocess.STDOUT,
                                  check=False)
        if done.returncode:
            raise BuildError(f"{made.name} does not build on {tool}:\n{log_tail(log, 30)}\nlog: {log}")

    return cached(f"board-{config.name}-{key}", make, kind="native") / "obj" / "simulation"


@dataclass(frozen=True)
class BoardCounts:
    """What a board's life came to: cycles of the core's clock, bytes on the line, bytes whose frame on the line was
    wrong, and what the memory chip counted; ``errors`` are violations of its data sheet."""

    cycles: int
    bytes_in: int
    bytes_out: int
    framing: int
    errors: int
    restarts: int
    refreshes: int
    activates: int
    reads: int
    writes: int


class SimulatedBoard:
    """A board that runs as long as this object lives.

    Parameters
    ----------
    config, dram, words, top
        See `build_board`.
    flight : tuple of int
        Half clocks that DDR3 data needs from the chip, by byte lane.
    line_divisor : int
        Cycles of a bit at the host's end; another than `DIVISOR` is a wrong baud rate.

    Attributes
    ----------
    port : str
        Of its serial line; the baud rate does not matter.
    counts : BoardCounts or None
        After `close`.
    log : Path
        What the simulator printed.
    """

    def __init__(self, config, dram="sdr-32m", words=None, top=None, line_divisor=DIVISOR, flight=ddr3.FLIGHT):
        program = build_board(config, dram, words, top)
        self.counts = None
        self.log = build_root() / "runs" / f"board-{os.getpid()}-{next(_serial)}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._terminal = PseudoTerminal()
        self.port, descriptor = self._terminal.port, self._terminal.fileno()
        with open(self.log, "w") as log:
            self._process = subprocess.Popen(
                [str(program), f"+fd={descriptor}", f"+divisor={line_divisor}", f"+core_ps={CORE_PS}",
                 *self._clocks(dram), f"+flight={ddr3.flight_bits(flight)}"],
                pass_fds=(descriptor,), stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                # Ctrl-C is this process's; the simulation ends with its standard input.
                start_new_session=True)

    @staticmethod
    def _clocks(dram):
        """Arguments: periods of the memory's clock, of DDR3 twice as fast, and of its second one."""
        period = round(1e6 / DRAM_MHZ / 4) * 4
        if dram in DDR3_PARTS:
            return f"+dram_ps={period // 2}", f"+pin_ps={INIT_PS}"
        return f"+dram_ps={period}", f"+pin_ps={period}"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def wait(self, seconds=None):
        """Until the simulation ends by itself, which it should not, or for so long; returns its exit status or None."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)

    def close(self):
        """End the simulation and read its counts."""
        if self.counts is None and self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            last = log_tail(self.log, 1).split()
            if last[:1] == ["ended"] and len(last) == 1 + len(fields(BoardCounts)):
                self.counts = BoardCounts(*map(int, last[1:]))
        self._terminal.close()
