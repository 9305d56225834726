"""The life of a job, and the errors of the bus."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from olivine.control.job import COUNTERS, JobStatus, StatusCode
from olivine.control.lifecycle import COUNTER_BITS, TALLY_BITS, JobControl, fault_layout, first_fault
from olivine.memory.axi import Response
from olivine.memory.faults import bus_faults
from olivine.memory.reader import BurstReader
from olivine.memory.writer import BurstWriter

from tests.simulate import run


def test_job_control():
    run(JobControl(24), "tb.control.lifecycle", expected=8)


def test_status_is_as_wide_as_its_counters():
    assert all(JobStatus[name].width == COUNTER_BITS for name in COUNTERS)
    assert JobStatus["illegal"].width == TALLY_BITS


def evaluate(faults, inputs):
    """What `first_fault` says of faults made from signals, for each list of (signal, value)."""
    m, found, results = Module(), Signal(fault_layout), []
    first_fault(m, faults, found)

    async def bench(ctx):
        for assignment in inputs:
            for signal, value in assignment:
                ctx.set(signal, value)
            await ctx.delay(1e-9)
            seen = ctx.get(found)
            results.append((seen.valid, seen.code, seen.address, seen.detail))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def test_the_first_fault_is_told():
    first, second = Signal(), Signal()
    faults = [(first, StatusCode.GUARD_READ, 0x1234), (second, StatusCode.BAD_ENTRY, 0x5678, 9)]
    cases = [[(first, a), (second, b)] for a in (0, 1) for b in (0, 1)]
    assert evaluate(faults, cases) == [
        (0, StatusCode.OK, 0, 0), (1, StatusCode.BAD_ENTRY, 0x5678, 9),
        (1, StatusCode.GUARD_READ, 0x1234, 0), (1, StatusCode.GUARD_READ, 0x1234, 0)]


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_bus_errors_have_their_codes():
    """Of two readers and a writer, each response at each; readers come first."""
    readers, writer = [BurstReader(32, 4, index) for index in range(2)], BurstWriter(32, 4)
    parts = [*readers, writer]

    def state(index, resp, address):
        error = parts[index].error
        return [(error.valid, 1), (error.resp, resp), (error.addr, address)]

    quiet = [(part.error.valid, 0) for part in parts]
    cases = [quiet + state(index, resp, 64 * index) for index in range(3) for resp in (
        Response.SLVERR, Response.DECERR)]
    cases.append(state(2, Response.DECERR, 5) + state(1, Response.SLVERR, 6) + state(0, Response.DECERR, 7))
    codes = [StatusCode.READ_SLVERR, StatusCode.READ_DECERR] * 2 + [StatusCode.WRITE_SLVERR, StatusCode.WRITE_DECERR]
    want = [(1, code, 64 * (index // 2), 0) for index, code in enumerate(codes)]
    assert evaluate(bus_faults(readers, writer), cases) == [*want, (1, StatusCode.READ_DECERR, 7, 0)]
