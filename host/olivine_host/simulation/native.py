"""Builds an engine's Verilog with the native harness into a program, on Verilator or Icarus."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .. import toolchain
from .build import cached, digest, log_tail

__all__ = ["ENGINE", "CORE", "BuildError", "NativeBuild", "build"]

HERE = Path(__file__).parent

ENGINE, CORE = "harness.v", "core.v"
"""Harnesses: of an engine with jobs and statuses; of the whole core."""

VERILATOR_FLAGS = (
    "--cc", "--exe", "--build", "--top-module", "harness", "-O3", "--x-assign", "fast", "--x-initial", "fast",
    "--no-timing",
    # Lint is a test of its own.
    "-Wno-fatal", "-Wno-lint", "-Wno-style",
    # One huge function is what costs the compiler its time.
    "--output-split", "5000", "--output-split-cfuncs", "500",
    # What runs every cycle is worth -O2; what runs once is not.
    "-MAKEFLAGS", "OPT_FAST=-O2", "-MAKEFLAGS", "OPT_SLOW=-O0", "-MAKEFLAGS", "OPT_GLOBAL=-O2",
)

ICARUS_FLAGS = ("-g2012", "-s", "harness")


class BuildError(RuntimeError):
    """The simulator refused the design, or the compiler its code."""


@dataclass(frozen=True)
class NativeBuild:
    """A program that runs jobs.

    Parameters
    ----------
    command : list of str
        Runs it; plusargs follow.
    tool : Tool
        The simulator.
    memory_words : int
        Size of the memory, beats.
    waves : str or None
        Name of the waveform file that a run writes into its working folder.
    """

    command: list
    tool: toolchain.Tool
    memory_words: int
    waves: str | None = None


def _widths(ports, harness):
    """Macros of a harness from a design's list of ports."""
    width = {port["name"]: port["width"] for port in ports}
    names = {"BUS_BITS": "m_axi_rdata", "ADDR_BITS": "m_axi_araddr", "ID_BITS": "m_axi_arid",
             "ACTIVITY_BITS": "activity"}
    if harness == ENGINE:
        names |= {"JOB_BITS": "job_payload", "DONE_BITS": "done_payload", "WINDOW_BITS": "windows"}
    try:
        return {macro: width[name] for macro, name in names.items()}
    except KeyError as error:
        raise ValueError(f"the design has no port {error}: {harness} runs what has "
                         f"{', '.join(names.values())}") from None


def build(design, simulator, memory_words, waves=False, harness=ENGINE):
    """Build a design, or find the build made before.

    Parameters
    ----------
    design : olivine.verilog.Design
    simulator : str
        ``"verilator"`` or ``"icarus"``.
    memory_words : int
        Size of the memory, beats.
    waves : bool
        Every run writes waveforms.
    harness : str
        `ENGINE` or `CORE`.

    Raises
    ------
    BuildError
        With the end of the build's log.
    ToolMissing
        If the simulator is not installed.
    """
    tool = toolchain.simulator(simulator)
    # FST would be smaller, but Verilator's writer wants the headers of two compression libraries.
    picture = "waves.vcd" if waves else None
    macros = {"TOP": design.name, "MEMORY_WORDS": memory_words, **_widths(design.ports, harness)}
    if waves:
        macros["WAVES"] = f'"{picture}"'
    defines = [f"-DOLIVINE_{name}={value}" for name, value in macros.items()]
    if simulator == "verilator":
        flags = [*VERILATOR_FLAGS, *(["--trace-vcd"] if waves else [])]
        sources = [HERE / harness, HERE / "main.cpp"]
    else:
        flags, sources = ICARUS_FLAGS, [HERE / harness]
    key = digest(design.text, *(path.read_text() for path in (*sources, HERE / "memory.vh")), tool, defines, flags)
    flags = [*flags, f"-I{HERE}"]

    def make(folder):
        (folder / "design.v").write_text(design.text)
        if simulator == "verilator":
            command = [tool.path, *flags, "-j", str(os.cpu_count()), "--Mdir", "obj", "-o", "simulation"]
        else:
            command = [tool.path, *flags, "-o", "simulation.vvp"]
        log = folder / "build.log"
        command += [*defines, "design.v", *map(str, sources)]
        with open(log, "w") as file:
            done = subprocess.run(command, cwd=folder, env=tool.env(), stdout=file, stderr=subprocess.STDOUT,
                                  check=False)
        if done.returncode:
            raise BuildError(f"{design.name} does not build on {tool}:\n{log_tail(log, 30)}\nlog: {log}")

    folder = cached(f"{design.name}-{simulator}-{key}", make, kind="native")
    program = folder / "obj" / "simulation" if simulator == "verilator" else folder / "simulation.vvp"
    command = [str(program)] if simulator == "verilator" else ["vvp", "-n", str(program)]
    return NativeBuild(command, tool, memory_words, picture)
