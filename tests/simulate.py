"""Runs a cocotb testbench against a component: the one door from pytest to the simulators."""

import os
import re
import shutil
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
from olivine.verilog import Design, design
from olivine_host import toolchain
from olivine_host.simulation.build import VERILATOR_FLAGS, build_root, cached, digest, log_tail

ROOT = Path(__file__).parent.parent
TIMESCALE = ("1ns", "1ps")

os.environ.setdefault("OLIVINE_BUILD", str(ROOT / "build"))

waves_wanted = False
"""Set by pytest's ``--waves``: record waveforms of everything."""

_runs = Counter()
"""Runs so far of each pytest test."""


def run(component, testbench, *, simulator="icarus", name=None, parameters=None, expected=None, waves=False):
    """Run every cocotb test of a module against a component, and assert that all passed.

    A failing run is reported with the end of its log and the log's path, and is repeated with
    waveforms where that is cheap (Icarus), so that the picture is there when one comes to look.

    Parameters
    ----------
    component : wiring.Component or Design
    testbench : str
        Module with the cocotb tests, such as ``"tb.stream.queue"``.
    simulator : str
        ``"icarus"`` or ``"verilator"``.
    name : str
        Name of the top module; the class name in lower case if None.
    parameters : dict of str to str
        Given to the testbench as environment variables ``OLIVINE_<KEY>``.
    expected : int
        Number of cocotb tests that must have run. At least one must, always.
    waves : bool
        Record waveforms.
    """
    __tracebackhide__ = True
    made = component if isinstance(component, Design) else design(component, name)
    tool = toolchain.simulator(simulator)
    waves = waves or waves_wanted or bool(os.environ.get("OLIVINE_WAVES"))
    folder = _run_folder(testbench, simulator)
    try:
        problem = _simulate(made, testbench, tool, parameters, expected, waves, folder)
        again = simulator == "icarus" and not waves
        if problem and again:
            _simulate(made, testbench, tool, parameters, expected, True, folder)
    except BuildFailed as error:
        pytest.fail(str(error), pytrace=False)
    if problem:
        pictures = sorted(p for kind in ("*.fst", "*.vcd") for p in folder.glob(kind))
        seen = f"\nwaveforms: {pictures[0]}" if pictures else "\nwaveforms: run pytest with --waves"
        pytest.fail(f"{testbench} on {tool}: {problem}\n{log_tail(folder / 'simulation.log')}\n"
                    f"log: {folder / 'simulation.log'}{seen}", pytrace=False)


class BuildFailed(Exception):
    pass


def _run_folder(testbench, simulator):
    """A fresh folder named after the pytest test."""
    test = os.environ.get("PYTEST_CURRENT_TEST", testbench).split(" (")[0].removeprefix("tests/")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", test)[:150].strip("-")
    _runs[test] += 1
    folder = build_root() / "runs" / f"{name}-{digest(test)[:6]}" / f"{simulator}-{_runs[test]}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _environment(tool):
    """The runner looks for its programs in this process's environment."""
    before = dict(os.environ)
    os.environ.update(tool.environment)
    # Its own switches for waves would override ours.
    os.environ.pop("WAVES", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _build(made, tool, waves):
    arguments = list(VERILATOR_FLAGS) if tool.name == "verilator" else []
    key = digest(made.text, made.name, tool, arguments, waves, TIMESCALE, sys.prefix)

    def make(folder):
        source = folder / f"{made.name}.v"
        source.write_text(made.text)
        log = folder / "build.log"
        try:
            get_runner(tool.name).build(sources=[source], hdl_toplevel=made.name, build_dir=folder,
                                        build_args=arguments, waves=waves, timescale=TIMESCALE, always=True,
                                        log_file=log)
        except (RuntimeError, SystemExit) as error:
            raise BuildFailed(f"{made.name} does not build on {tool}: {error}\n{log_tail(log)}\n"
                              f"log: {log}") from None

    return cached(key, make)


def _simulate(made, testbench, tool, parameters, expected, waves, folder):
    """One run; returns what was wrong with it, or None."""
    results = folder / "results.xml"
    extra = {f"OLIVINE_{key.upper()}": str(value) for key, value in (parameters or {}).items()}
    with _environment(tool):
        build = _build(made, tool, waves)
        picture = [f"+dumpfile_path={folder / made.name}.fst"] if waves and tool.name == "icarus" else []
        runner = get_runner(tool.name)
        runner.log.disabled = True
        try:
            runner.test(testbench, made.name, hdl_toplevel_lang="verilog", build_dir=build, test_dir=folder,
                        results_xml=str(results), extra_env=extra, waves=waves, seed=1, timescale=TIMESCALE,
                        plusargs=picture, log_file=folder / "simulation.log")
        except (RuntimeError, SystemExit):
            pass    # the results below say more
    try:
        count, failed = get_results(results)
    except RuntimeError:
        return "the simulator ended without results"
    skipped = len(list(ElementTree.parse(results).getroot().iter("skipped")))
    if failed:
        return f"{failed} of {count} tests failed"
    if skipped:
        return f"{skipped} of {count} tests were skipped: select tests in pytest, where it shows"
    if count == 0:
        return "no test ran"
    if expected is not None and count != expected:
        return f"{count} tests ran, {expected} were expected"
    return None
