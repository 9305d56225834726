"""What the decoders of outlier-victim pairs cost beside the array: LUTs of the FPGA, and gates of any technology.

An FPGA hides the cost of a multiplier in a block of its own. Gates do not: array and decoders are mapped to a small
generic library by Yosys and ABC, and their area is counted in gate equivalents, a NAND of two inputs being one. Wires,
clock tree and drive strengths are left out, so only the relation of two figures says anything.
"""

import json
import re
import subprocess
import time

from ..fpga import tools
from ..simulation.build import cached, digest, log_tail
from .synthesis import SynthesisError, synthesize
from .synthesis_units import SYNTHESIS_UNITS

__all__ = ["GATES", "PAPER_SHARE", "gates", "area", "share_record", "UNITS_COUNTED"]

GATES = {"$_NOT_": 0.67, "$_NAND_": 1.0, "$_NOR_": 1.0, "$_AND_": 1.33, "$_OR_": 1.33, "$_XOR_": 2.0, "$_XNOR_": 2.0,
         "$_AOI3_": 1.33, "$_OAI3_": 1.33, "$_MUX_": 2.33, "$_DFF_P_": 5.67}
"""The library: Yosys's cell and its area in gate equivalents, as is usual of CMOS standard cells."""

PAPER_SHARE = 0.037
"""Decoders' share of the area of decoders and elements that the OliVe paper reports (ISCA 2023): 192 decoders at the
borders of 4,096 elements."""

UNITS_COUNTED = ("array-int8", "array-folded", "array-exponent", "decoders-folded", "decoders-exponent")

_ELEMENTS = ("folded", "exponent")

# Registers without initial values, as ASICs have them; enables and resets become gates.
_SCRIPT = """\
read_rtlil unit.il
attrmap -remove init
synth -flatten -top top
dfflegalize -cell $_DFF_P_ 01
abc -g AND,NAND,OR,NOR,XOR,XNOR,MUX,AOI3,OAI3
opt_clean
delete t:$scopeinfo
tee -q -o cells.json stat -json
tee -q -o depth.txt ltp -noff
"""


def area(cells):
    """Gate equivalents of cells by kind.

    Raises
    ------
    ValueError
        If a kind is not of the library.
    """
    unknown = sorted(set(cells) - set(GATES))
    if unknown:
        raise ValueError(f"no area is known of {', '.join(unknown)}")
    return sum(GATES[kind] * count for kind, count in cells.items())


def gates(name, config, progress=None):
    """A unit of `SYNTHESIS_UNITS` in generic gates.

    Returns
    -------
    dict
        ``area`` in gate equivalents, ``cells``: how many, ``flip_flops``, ``depth``: gates in a row at most.

    Raises
    ------
    SynthesisError, ToolMissing
    """
    from amaranth.back import rtlil

    from ..fpga.progress import Stage
    tool = tools.yosys()
    text = rtlil.convert(SYNTHESIS_UNITS[name].build(config), name="top", emit_src=False)
    if progress:
        progress(Stage(f"gates of {name}"))

    def make(folder):
        start = time.perf_counter()
        (folder / "unit.il").write_text(text)
        (folder / "script.ys").write_text(_SCRIPT)
        with open(folder / "log", "w") as log:
            done = subprocess.run(tools.yosys_command(tool, "script.ys"), cwd=folder, stdout=log,
                                  stderr=subprocess.STDOUT, check=False)
        if done.returncode or not (folder / "depth.txt").exists():
            raise SynthesisError(f"{name} is not mapped to gates by {tool}\n{log_tail(folder / 'log', 20)}\n"
                                 f"log: {folder / 'log'}")
        (folder / "seconds").write_text(str(round(time.perf_counter() - start, 1)))

    folder = cached(f"gates-{name}-{digest(text, _SCRIPT, tool)}", make, kind="synthesis")
    cells = json.loads((folder / "cells.json").read_text())["design"]["num_cells_by_type"]
    depth = re.search(r"length=(\d+)", (folder / "depth.txt").read_text())
    return {"area": round(area(cells)), "cells": sum(cells.values()), "flip_flops": cells.get("$_DFF_P_", 0),
            "depth": int(depth.group(1)) if depth else 0}


def share_record(config, progress=None):
    """The record ``ovp-share`` of a configuration.

    Returns
    -------
    dict
        ``gates`` of each unit; ``share``: by element, the decoders' part of decoders and array, in gates and in LUTs
        with multipliers as LUTs; ``paper_share``.
    """
    counted = {name: gates(name, config, progress) for name in UNITS_COUNTED}
    share = {}
    for element in _ELEMENTS:
        decoders, array = f"decoders-{element}", f"array-{element}"
        luts = [synthesize(name, SYNTHESIS_UNITS[name], config, dsp=dsp)["luts"]
                for name, dsp in ((decoders, True), (array, False))]
        share[element] = {"gates": _part(counted[decoders]["area"], counted[array]["area"]), "luts": _part(*luts)}
    return {"name": "ovp-share", "preset": config.name, "gates": counted, "share": share, "paper_share": PAPER_SHARE,
            "tool_versions": {"yosys": tools.yosys().version}}


def _part(decoders, array):
    return round(decoders / (decoders + array), 4)
