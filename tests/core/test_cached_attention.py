"""Attention with its cache as a whole, against golden: random operations mixed with jobs, memory compared."""

import pytest
from olivine.config import PRESETS
from olivine.olive.formats import LaneFormat
from olivine_host.simulation.backend import Simulator
from olivine_host.simulation.designs import cached_design

from tests.core.machine import Machine, RawJob

TINY = PRESETS["tiny"]


def simulate(machine, simulator="verilator"):
    """Run all jobs of a machine; returns the results and memory afterwards."""
    end = machine.memory.memory_bytes
    last = RawJob(machine.jobs[0].descriptor, [], (0, end), end, keeps=True)
    runner = Simulator(machine.config, cached_design("attention", machine.config), simulator)
    *results, dump = runner.run_jobs([*machine.jobs, last])
    return results, dump.output


FORMATS = {"int8": (LaneFormat.INT8, LaneFormat.INT8), "ovp4": (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)}


@pytest.mark.parametrize("formats", FORMATS)
def test_random_operations(formats):
    keys, values = FORMATS[formats]
    machine = Machine(TINY, 1, key_format=keys, value_format=values)
    for _ in range(60):
        machine.step()
    machine.compare(*simulate(machine))
