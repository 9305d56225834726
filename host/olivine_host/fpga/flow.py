"""The flow: Amaranth to RTLIL, Yosys to cells, nextpnr to places and wires, ecppack to a bitstream.

Amaranth's platform writes the RTLIL, the constraints and the script; the tools are run here, so that each tells its
stage, logs and reports are kept, and each result is kept by what it was made from::

    build/fpga/<name>-synth-<digest>/   top.il, top.ys, top.json, cells.json, log
    build/fpga/<name>-pnr-<digest>/     top.config, report.json, top.sdf.gz, log
    build/fpga/<name>-bit-<digest>/     top.bit, top.svf

Equal inputs give equal bytes: nothing in the inputs names the machine or the time.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import amaranth
import olivine

from ..simulation.build import build_root, cached, digest
from . import tools
from .copies import FEWEST_READERS, LEVELS, resets_by_module
from .crowded import AIM, LENGTH, REACH, ROUTING, aims, is_crowded, keep_targets, route_by_sharing
from .delays import keep_delays
from .lines import FEWEST, LINES, resets_on_lines
from .memories import ROUNDS, WIDEST, keep_places, memory_places
from .passes import PASSES, improve
from .progress import NextpnrStages, Stage, YosysStages
from .report import Report, overflows, read_report
from .synthesis import THE_WHOLE, by_module, cells_of, logic

__all__ = ["FlowError", "DoesNotFit", "Plan", "Synthesis", "Routed", "prepare", "synthesize", "place_and_route", "pack",
           "build_root"]

KIND = "fpga"
TAIL = 20

FABRIC = "LUT4"
"""Kind under which `overflows` counts all LUTs, of carries and memories too."""


class FlowError(RuntimeError):
    """A tool refused the design or ended early."""


class DoesNotFit(FlowError):
    """There are more cells than the part has.

    Parameters
    ----------
    over : dict
        ``{kind: (used, available)}``.
    """

    def __init__(self, what, over):
        self.over = over
        counts = ", ".join(f"{used:,} {kind} of {available:,}" for kind, (used, available) in over.items())
        super().__init__(f"{what} does not fit: it takes {counts}")


@dataclass(frozen=True)
class Plan:
    """What the tools get.

    Parameters
    ----------
    design : BoardDesign
    files : dict
        Contents by name.
    options : list of str
        nextpnr's device, package and speed grade.
    """

    design: object
    files: dict
    options: list


@dataclass(frozen=True)
class Synthesis:
    plan: Plan
    folder: Path
    cells: dict
    seconds: float

    @property
    def overflows(self):
        """What is more than the part has."""
        counted = {**self.cells, FABRIC: logic(self.cells)}
        return overflows(counted, self.plan.design.board.capacity)


@dataclass(frozen=True)
class Routed:
    plan: Plan
    folder: Path
    report: Report
    seed: int
    seconds: float


def prepare(design):
    """The inputs of the tools, by the board's platform.

    Parameters
    ----------
    design : BoardDesign
        Its component is elaborated, so it serves once.
    """
    platform = design.board.make_platform()
    plan = platform.prepare(design.component, "top", verbose=True,
                            script_after_read=by_module("top"), synth_opts=THE_WHOLE,
                            script_after_synth="tee -q -o cells.json stat -json")
    files = {name: content.decode() if isinstance(content, bytes) else content for name, content in plan.files.items()
             if not name.startswith("build_") and not name.endswith(".debug.v")}
    files["top.il"] = _without_folders(files["top.il"])
    if design.pin_mhz is not None:
        files["top.lpf"], count = re.subn(r"(FREQUENCY PORT \S+) \S+ HZ;", rf"\1 {design.pin_mhz * 1e6:.0f} HZ;",
                                          files["top.lpf"])
        if count != 1:
            raise ValueError(f"{design.name} has {count} clock pins, and --freq sets the frequency of one")
    commands = json.loads(plan.files["build_top.json"])["commands"]
    nextpnr = next(command for command in commands if command[0] == "nextpnr-ecp5")
    first = nextpnr.index("--package")
    return Plan(design, files, nextpnr[first - 1:first + 4])


def _without_folders(text):
    """RTLIL whose source locations begin at a package: ``olivine/olive/array.py``."""
    for package in (amaranth, olivine):
        text = text.replace(f'"{Path(package.__file__).parents[1]}{os.sep}', '"')
    return text


class _Run:
    """Runs a tool, keeps its log, tells its stages."""

    def __init__(self, folder, stages, progress):
        self.folder, self.stages, self.progress = folder, stages, progress
        self.tail = deque(maxlen=TAIL)

    def __call__(self, command):
        # Python's hashes do not reach a result, but a fixed seed costs nothing and shows that.
        env = {**os.environ, "PYTHONHASHSEED": "0"}
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace", env=env)
        try:
            with open(self.folder / "log", "w", buffering=1) as log:
                for line in process.stdout:
                    log.write(line)
                    self.tail.append(line)
                    stage = self.stages.line(line) if self.stages else None
                    if stage and self.progress:
                        self.progress(stage)
            return process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def error(self, what, tool):
        return FlowError(f"{tool} failed on {what}\n{''.join(self.tail)}log: {self.folder / 'log'}")


def _write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def _timed(folder, start):
    (folder / "seconds").write_text(str(round(time.perf_counter() - start, 1)))


def _seconds(folder):
    return float((folder / "seconds").read_text())


def synthesize(plan, progress=None):
    """Yosys: `Plan` to cells, or the result of the time before.

    Raises
    ------
    FlowError
    ToolMissing
    """
    tool = tools.yosys()
    files = {name: content for name, content in plan.files.items() if not name.endswith(".lpf")}
    name = plan.design.name

    def make(folder):
        start = time.perf_counter()
        _write(folder, files)
        run = _Run(folder, YosysStages(), progress)
        if run(tools.yosys_command(tool, "top.ys")) or not (folder / "cells.json").exists():
            raise run.error(name, tool)
        netlist = json.loads((folder / "top.json").read_text())
        improve(netlist)
        resets_on_lines(netlist)
        resets_by_module(netlist)
        (folder / "top.json").write_text(json.dumps(netlist))
        _timed(folder, start)

    key = digest(*(part for pair in sorted(files.items()) for part in pair), tools.version(tool), FEWEST, LINES,
                 FEWEST_READERS, LEVELS, PASSES)
    folder = cached(f"{name}-synth-{key}", make, kind=KIND)
    return Synthesis(plan, folder, cells_of((folder / "cells.json").read_text()), _seconds(folder))


def place_and_route(synthesis, *, seed=0, mhz=None, progress=None):
    """nextpnr: cells to places, wires and a report, or the result of the time before.

    A design that misses its frequency is routed all the same: the report says so. One that nearly fills the part is
    placed twice (`olivine_host.fpga.memories`) and routed by another router (`olivine_host.fpga.crowded`).

    Parameters
    ----------
    synthesis : Synthesis
    seed : int
        Another seed, another placement: the frequency varies by some percent.
    mhz : float or None
        For clocks that the constraints do not name.

    Raises
    ------
    DoesNotFit
        If the part has too few cells of a kind.
    FlowError
    ToolMissing
    """
    plan, name = synthesis.plan, synthesis.plan.design.name
    if synthesis.overflows:
        raise DoesNotFit(f"{name} on {plan.design.board.part}", synthesis.overflows)
    tool = tools.nextpnr()
    options = [*plan.options, "--seed", str(seed), *(["--freq", f"{mhz:g}"] if mhz is not None else []),
               "--timing-allow-fail", "--placer", "static"]
    results = "--textcfg", "top.config", "--sdf", "top.sdf", "--report", "report.json"
    crowded = is_crowded(synthesis.cells, plan.design.board.capacity)

    def make(folder):
        start = time.perf_counter()
        shutil.copyfile(synthesis.folder / "top.json", folder / "top.json")
        _write(folder, {"top.lpf": plan.files["top.lpf"]})
        netlist = "--json", "top.json", "--lpf", "top.lpf"

        def run(*more):
            nextpnr = _Run(folder, NextpnrStages(), progress)
            if nextpnr(tools.nextpnr_command(tool, *options, *more)) or not (folder / more[-1]).exists():
                over = full(folder / "log")
                raise DoesNotFit(f"{name} on {plan.design.board.part}", over) if over else nextpnr.error(name, tool)

        if crowded:
            run(*netlist, *LENGTH, "--no-route", "--write", "placed.json")
            with _changed(folder / "top.json") as cells:
                keep_places(cells, memory_places(json.loads((folder / "placed.json").read_text())))
            run(*netlist, "--no-route", "--write", "placed.json")
            log = (folder / "log").read_text()
            with _changed(folder / "placed.json") as cells:
                route_by_sharing(cells)
            (folder / "aims.lpf").write_text(aims(log))
            run("--json", "placed.json", "--lpf", "aims.lpf", "--no-pack", "--no-place", *results)
            with _changed(folder / "report.json") as routed:
                keep_targets(routed, log)
            (folder / "placed.json").unlink()
        else:
            run(*netlist, *results)
        keep_delays(folder / "top.sdf")
        # Large, and in the folder of the synthesis.
        (folder / "top.json").unlink()
        _timed(folder, start)

    key = digest(synthesis.folder.name, plan.files["top.lpf"], options, results, tools.version(tool),
                 *((ROUNDS, WIDEST, LENGTH, sorted(ROUTING.items()), AIM, REACH) if crowded else ()))
    folder = cached(f"{name}-pnr-{key}", make, kind=KIND)
    report = read_report((folder / "report.json").read_text(), plan.design.inner)
    return Routed(plan, folder, report, seed, _seconds(folder))


@contextmanager
def _changed(file):
    """A JSON file's content, and what it then holds."""
    content = json.loads(file.read_text())
    yield content
    file.write_text(json.dumps(content))


def full(log):
    """Kinds of cells that nextpnr found no room for: above the part's number by its log, or named by its error."""
    text = Path(log).read_text(errors="replace")
    counts = {kind: (int(used), int(available))
              for kind, used, available in re.findall(r"Info:\s+(\w+):\s*(\d+)/\s*(\d+)\s+\d+%", text)}
    over = {kind: count for kind, count in counts.items() if count[0] > count[1]}
    unplaced = re.search(r"ERROR: Unable to (?:find legal )?place.*?type '?(\w+)'?", text)
    if unplaced and unplaced.group(1) in counts:
        over.setdefault(unplaced.group(1), counts[unplaced.group(1)])
    return over


def pack(routed, progress=None):
    """ecppack: the folder with ``top.bit`` and ``top.svf``.

    Raises
    ------
    FlowError
    ToolMissing
    """
    tool = tools.ecppack()
    name = routed.plan.design.name
    if progress:
        progress(Stage("bitstream"))

    def make(folder):
        shutil.copyfile(routed.folder / "top.config", folder / "top.config")
        run = _Run(folder, None, None)
        command = tools.ecppack_command(tool, "--compress", "--input", "top.config", "--bit", "top.bit",
                                        "--svf", "top.svf")
        if run(command) or not (folder / "top.bit").exists():
            raise run.error(name, tool)
        (folder / "top.config").unlink()

    key = digest(routed.folder.name, tools.version(tool))
    return cached(f"{name}-bit-{key}", make, kind=KIND)
