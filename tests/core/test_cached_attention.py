"""Attention with its cache as a whole, against golden: random operations mixed with jobs, memory compared."""

import pytest
from olivine.config import PRESETS
from olivine.olive.formats import LaneFormat
from olivine_host.simulation.backend import Simulator
from olivine_host.simulation.designs import cached_design

from tests.core.machine import Machine, RawJob

TINY = PRESETS["tiny"]
FORMATS = {"int8": (LaneFormat.INT8, LaneFormat.INT8), "ovp4": (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT),
           "mixed": (LaneFormat.INT4, LaneFormat.INT8)}


def simulate(machine, simulator="verilator", **options):
    """Run all jobs of a machine; returns the results and memory afterwards."""
    end = machine.memory.memory_bytes
    last = RawJob(machine.jobs[0].descriptor, [], (0, end), end, keeps=True)
    runner = Simulator(machine.config, cached_design("attention", machine.config), simulator, **options)
    *results, dump = runner.run_jobs([*machine.jobs, last])
    return results, dump.output


def run(formats, seed, steps, *, simulator="verilator", stall=0, faults=0.0, **shape):
    keys, values = FORMATS[formats]
    machine = Machine(TINY, seed, key_format=keys, value_format=values, faults=faults, **shape)
    for _ in range(steps):
        machine.step()
    machine.compare(*simulate(machine, simulator, stall=stall))
    return machine


@pytest.mark.parametrize("formats, seed, stall, faults, shape", [
    ("mixed", 3, 40, 0.0, {"group": 1, "head_dim": 24}), ("int8", 14, 0, 0.1, {}),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (
        ("int8", 1, 0, 0.0, {}), ("ovp4", 2, 0, 0.0, {"head_dim": 16}),
        ("ovp4", 5, 30, 0.1, {"head_dim": 32, "layers": 1}),
        ("int8", 6, 80, 0.0, {"kv_heads": 1, "group": 3, "layers": 3})))])
def test_random_operations(formats, seed, stall, faults, shape):
    """Thousands of jobs each: statuses, results, tallies, tables (by what they give) and the memory image."""
    machine = run(formats, seed, 400, stall=stall, faults=faults, **shape)
    kinds = {job.what.split()[0] for job in machine.jobs}
    assert kinds >= {"OPEN", "APPEND", "COMMIT", "FORK", "CLOSE", "SWAP_OUT", "SWAP_IN", "append", "attend", "score",
                     "set"}
    if faults:
        assert any("failing" in job.what for job in machine.jobs)


def test_on_icarus():
    run("int8", 11, 8, simulator="icarus")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_many_operations(seed):
    """About 100,000 jobs in all."""
    run(list(FORMATS)[seed % 3], 100 + seed, 3000, stall=(0, 25, 60, 0)[seed % 4], faults=0.05 * (seed % 2))
