"""Synthesis by Yosys for ECP5: cells by kind, each unit in a process of its own."""

import subprocess
import time

from olivine import __version__

from ..fpga import tools
from ..fpga.synthesis import cells_of, logic, script_of
from ..simulation.build import cached, digest, log_tail

__all__ = ["SynthesisError", "synthesize", "with_shares"]

DECODERS = {"array-folded": "decoders-folded", "array-exponent": "decoders-exponent"}
BASELINE = "array-int8"


class SynthesisError(RuntimeError):
    """Yosys refused a design or ended early."""


def synthesize(name, unit, config, *, dsp=True):
    """Synthesize a unit, or find the result of the time before.

    Parameters
    ----------
    name : str
    unit : SynthesisUnit
    config : AcceleratorConfig
    dsp : bool
        With the cells that the gateware builds by itself on ECP5, and multiplications mapped to MULT18X18D; without,
        plain gateware with multiplications in LUTs, so that areas can be compared.

    Returns
    -------
    dict
        ``cells`` by kind, ``luts``: what they take of LUTs together.

    Raises
    ------
    SynthesisError
        With the end of Yosys's log.
    """
    tool = tools.yosys()
    from amaranth.back import rtlil
    from olivine.olive.ecp5 import TARGET
    text = rtlil.convert(unit.build(config), name="top", platform=TARGET if dsp else None, emit_src=False)
    script = script_of("unit.il", "top", "" if dsp else "-nodsp") + "tee -q -o cells.json stat -json\n"

    def make(folder):
        (folder / "unit.il").write_text(text)
        (folder / "script.ys").write_text(script)
        start = time.perf_counter()
        with open(folder / "log", "w") as log:
            done = subprocess.run(tools.yosys_command(tool, "script.ys"), cwd=folder, stdout=log,
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
