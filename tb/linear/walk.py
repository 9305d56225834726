"""Checks a unit that announces transfers in an order of its own: the walk of a job, on one stream or two.

`RowAddresses`, `WeightAddresses` and `ResultBlocks` are walked alike.
"""

import random

from cocotb.triggers import RisingEdge
from olivine.control.job import command
from olivine.linear.plan import address_bits

from tb.linear.jobs import CONFIG, MOST, plan_bits, random_job
from tb.streams import StreamChecker, StreamSink, pack, start, unpack

__all__ = ["Walk", "ragged", "at_full_speed", "beginning"]

COMMAND = command(address_bits(CONFIG))


class Walk:
    """A unit and sinks on its streams.

    Parameters
    ----------
    dut : handle
    golden : function
        From a `Job` to its entries, in order.
    ports : dict
        By port name, (layout, function from an entry to the port's payload).
    command : str
        The port of commands: the entry's ``addr`` and ``bytes``.
    patterns : tuple of str
        Back-pressure of each port.
    """

    def __init__(self, dut, golden, ports, command, patterns=("always", "always")):
        self.dut, self.golden = dut, golden
        self.ports = {command: (COMMAND, lambda entry: {"addr": entry[0], "bytes": entry[1]}), **ports}
        self.sinks = {name: StreamSink(dut, name, pattern, seed=seed)
                      for seed, (name, pattern) in enumerate(zip(self.ports, patterns))}
        for name in self.ports:
            StreamChecker(dut, name)
        self.started, self.announced = False, 0

    async def begin(self, job):
        """Reset the unit with the job's plan; it starts by itself."""
        self.dut.plan.value = plan_bits(job)
        if not self.started:
            self.started = True
            await start(self.dut)
        else:
            self.dut.rst.value = 1
            await RisingEdge(self.dut.clk)
            self.dut.rst.value = 0

    async def compare(self, job, entries):
        """The next entries, on all ports."""
        for name, (layout, payload) in self.ports.items():
            got = await self.sinks[name].collect(len(entries), timeout=40 * len(entries) + 100)
            for index, (bits, entry) in enumerate(zip(got, entries)):
                want = pack(layout, payload(entry))
                assert bits == want, (f"{name}, entry {index}: {unpack(layout, bits)}, "
                                      f"not {unpack(layout, want)} of {job}")
        self.announced += len(entries)

    async def walk(self, job):
        """A whole job, and nothing after it; returns the number of entries."""
        await self.begin(job)
        entries = list(self.golden(job))
        await self.compare(job, entries)
        for _ in range(20):
            await RisingEdge(self.dut.clk)
        for sink in self.sinks.values():
            assert len(sink.received) == self.announced, "announced after the end"
        return len(entries)


async def ragged(walk, seed, jobs):
    """Jobs of any shape."""
    rng = random.Random(f"{seed}")
    for _ in range(jobs):
        await walk.walk(random_job(rng))


async def at_full_speed(walk):
    """One entry a cycle on every port, from the first to the last of long jobs."""
    rng = random.Random(5)
    for _ in range(3):
        job = random_job(rng, m=20 * CONFIG.chunk_rows - 1, n=9 * CONFIG.lanes + 1)
        count = await walk.walk(job)
        for sink in walk.sinks.values():
            cycles = sink.cycles[-count:]
            assert cycles[-1] - cycles[0] == count - 1, "not one entry a cycle"


async def beginning(walk, seed):
    """The beginning of a job of any size, up to the largest; the rest is left."""
    rng = random.Random(f"{seed}")
    shape = {"m": MOST, "n": MOST, "k": CONFIG.max_reduction} if seed % 2 else {}
    job = random_job(rng, big=True, **shape)
    await walk.begin(job)
    await walk.compare(job, [entry for _, entry in zip(range(150), walk.golden(job))])
