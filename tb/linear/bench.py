"""What the linear engine's testbenches share: random jobs, and an engine on a memory."""

import os
from dataclasses import replace

import numpy as np
from cocotb.triggers import RisingEdge
from olivine.config import PRESETS
from olivine.control.job import JobStatus, StatusCode, Window
from olivine.linear.descriptor import Group, LinearDescriptor, RowFormat, run_steps
from olivine.olive.formats import LaneFormat
from olivine_golden.linear import LinearWeights, linear
from olivine_host.jobs import LinearJob, pack_rows

from tb.axi_memory import AxiMemory
from tb.streams import StreamChecker, StreamSink, StreamSource, pack, start, unpack

__all__ = ["WINDOWS", "configuration", "random_weights", "random_job", "EngineBench", "fields_of"]

MEMORY = 1 << 16
WINDOWS = 4
"""Windows of an engine on its own: a region outside of its window, or of the wrong kind, takes three."""


def configuration():
    """The configuration that the pytest side built."""
    return replace(PRESETS[os.environ["OLIVINE_PRESET"]], element=os.environ["OLIVINE_ELEMENT"],
                   drain_columns=int(os.environ["OLIVINE_COLUMNS"]),
                   vector_cycles=int(os.environ.get("OLIVINE_CYCLES", "1")), windows=WINDOWS)


def random_weights(rng, k, n, weight_format, group):
    """Weights with any code, multiplier, bias and scale, of which few results saturate."""
    codes = rng.integers(0, 256 if weight_format is LaneFormat.INT8 else 16, (k, n)).astype(np.uint8)
    grouped = group is not Group.CHANNEL
    multipliers = rng.integers(0, 256, (-(-k // run_steps(group)), n)).astype(np.uint8) if grouped else None
    return LinearWeights(weight_format, group, codes, multipliers, int(rng.integers(0, 12)) if grouped else 0,
                         rng.integers(-(1 << 31), 1 << 31, n).astype(np.int32) >> int(rng.integers(0, 16)),
                         rng.integers(0, 1 << 16, n).astype(np.uint16), rng.integers(8, 40, n).astype(np.uint8))


def random_job(rng, config, *, m=None, k=None, n=None, weight_format=None, group=None):
    """A job of random shape and format, scattered over memory as unaligned as its descriptor may be."""
    m = m or int(rng.integers(1, 2 * config.rows + 2) if rng.random() < .75 else
                 rng.integers(config.chunk_rows, 2 * config.chunk_rows + 2))
    k = k or int(rng.choice([rng.integers(1, 64), rng.integers(1, 200), 64, 128, 129]))
    n = n or int(rng.integers(1, 2 * config.lanes + 2))
    weight_format = weight_format or LaneFormat(int(rng.integers(0, 4)))
    group = group or Group(int(rng.integers(0, 3)))
    x_format, y_format = RowFormat(int(rng.integers(0, 2))), RowFormat(int(rng.integers(0, 3)))
    weights = random_weights(rng, k, n, weight_format, group)
    # A few of the wide containers hold more than 12 bits.
    low, high = (-128, 128) if x_format is RowFormat.INT8 else (-2060, 2060)
    x = rng.integers(low, high, (m, k))
    unplaced = LinearJob(config, weights, x, x_format, y_format)
    sizes = [len(unplaced.regions[0][1]), len(unplaced.regions[1][1]), unplaced.output[1]]
    aligned = [config.bus_bytes, x_format.bytes, y_format.bytes]
    addresses, end = [0, 0, 0], 0
    for part in rng.permutation(3):
        gap = int(rng.integers(1, 200))
        addresses[part] = -(-(end + gap) // aligned[part]) * aligned[part]
        end = addresses[part] + sizes[part]
    if end > MEMORY:
        return random_job(rng, config, k=min(k, 64), n=min(n, 2 * config.lanes), weight_format=weight_format,
                          group=group)
    return LinearJob(config, weights, x, x_format, y_format, addresses)


def fields_of(descriptor):
    """The fields of a descriptor, as integers."""
    return {name: int(getattr(value, "value", value)) for name, value in unpack(LinearDescriptor, descriptor).items()}


class EngineBench:
    """The engine, a memory on its bus, and a checker on every stream.

    Parameters
    ----------
    dut : handle
    patterns : dict
        Stall pattern by channel (`AxiMemory`), and of ``done``.
    size : int
        Bytes of memory; the window opened is exactly this.
    """

    def __init__(self, dut, *, patterns=None, seed=0, latency=30, size=MEMORY, timeout=0):
        patterns = dict(patterns or {})
        self.dut, self.config = dut, configuration()
        done = patterns.pop("done", "always")
        self.memory = AxiMemory(dut, "m_axi", size=size, latency=latency, patterns=patterns, seed=seed,
                                interleave=True).start()
        self.jobs = StreamSource(dut, "job")
        self.done = StreamSink(dut, "done", done, seed)
        StreamChecker(dut, "done")
        self.rng = np.random.default_rng(seed)
        self.collected = 0
        self.open([(0, size - 1, 1, 1)])
        dut.bus_timeout.value = timeout
        for name, value in (("abort", 0), ("rows_ready", 1)):
            if hasattr(dut, name):
                getattr(dut, name).value = value

    def open(self, windows):
        """Open windows: (first, last, readable, writable) each."""
        layout = Window(self.config.addr_width)
        bits = 0
        for index, window in enumerate(windows):
            bits |= pack(layout, dict(zip(("first", "last", "readable", "writable"), window))) << index * layout.size
        self.dut.windows.value = bits

    async def start(self):
        await start(self.dut, "aclk", "aresetn", active_low=True)

    async def reset(self):
        """Joint reset of the engine and its memory."""
        self.dut.aresetn.value = 0
        for _ in range(4):
            await RisingEdge(self.dut.aclk)
        # A job that was over by then has reported.
        missed = len(self.done.received) - self.collected
        await self.done.collect(missed)
        self.collected += missed
        self.dut.aresetn.value = 1

    def load(self, job):
        """Fill memory with noise, and the job's operands in it; returns what memory must be afterwards."""
        noise = bytearray(self.rng.bytes(len(self.memory.memory)))
        for address, content in job.regions:
            noise[address:address + len(content)] = content
        self.memory.memory[:] = noise
        y, self.tallies = linear(job.x, job.weights, job.y_format, job.passes)
        packed = pack_rows(y, self.config.rows, job.y_format)
        noise[job.output[0]:job.output[0] + len(packed)] = packed
        return noise

    async def submit(self, descriptor, timeout=100_000):
        """Run one descriptor; returns its status as a dict."""
        self.jobs.push(descriptor)
        received, = await self.done.collect(1, timeout=timeout)
        self.collected += 1
        status = unpack(JobStatus, received)
        status["code"] = StatusCode(int(getattr(status["code"], "value", status["code"])))
        return status

    async def compute(self, job):
        """Run a job that must succeed, and check memory, tallies and counters; returns its status."""
        # Late beats of a job that timed out are not this job's.
        while not self.dut.job_ready.value:
            await RisingEdge(self.dut.aclk)
        expected = self.load(job)
        reads, writes = len(self.memory.transfers["r"]), len(self.memory.transfers["w"])
        status = await self.submit(job.descriptor)
        shape = (job.m, job.k, job.n, job.weights.format.name, job.weights.group.name, job.x_format.name,
                 job.y_format.name)
        assert status["code"] is StatusCode.OK, (shape, status)
        if self.memory.memory != expected:
            first, last = job.output[0], job.output[0] + job.output[1]
            wrong = [at for at, (a, b) in enumerate(zip(self.memory.memory, expected)) if a != b]
            outside = [at for at in wrong if not first <= at < last]
            raise AssertionError(f"{shape}: {len(wrong)} bytes differ, {len(outside)} outside the results, "
                                 f"first {wrong[0] - first} bytes into them")
        tallies = {name: status[name] for name in self.tallies}
        assert tallies == self.tallies, (shape, tallies, self.tallies)
        assert status["array_useful"] == job.m * job.k * job.n, (shape, status)
        assert status["beats_read"] == len(self.memory.transfers["r"]) - reads, (shape, status)
        assert status["beats_written"] == len(self.memory.transfers["w"]) - writes, (shape, status)
        steps = job.k * -(-job.m // self.config.rows) * -(-job.n // self.config.lanes)
        halves = self.config.element == "exponent" and job.weights.format is LaneFormat.INT8
        assert steps <= status["array_busy"] <= steps * (2 if halves else 1), (shape, status)
        stalls = sum(value for name, value in status.items() if name.startswith("stall_"))
        assert status["array_busy"] + stalls < status["cycles"], (shape, status)
        return status
