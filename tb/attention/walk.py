"""Checks a unit that is told of chunks and asks for transfers: a job's chunks and pages in, golden sequences out."""

from cocotb.triggers import RisingEdge
from olivine.control.job import command
from olivine.linear.plan import ADDRESS_BITS

from tb.attention.jobs import Fresh, chunk_bits, page_bits
from tb.streams import StreamChecker, StreamSink, StreamSource, pack, unpack

__all__ = ["command_of", "Walk"]

COMMAND = command(ADDRESS_BITS)


def command_of(entry):
    return {"addr": entry.addr, "bytes": entry.bytes}


class Walk:
    """A unit, sources of chunks and of pages, and sinks on its streams.

    Parameters
    ----------
    dut : handle
    golden : function
        From a `Job` to its entries, in order.
    ports : dict
        By port name, (layout, function from an entry to its payload; what a payload leaves out is anything).
    patterns : tuple of str
        Of the inputs, and of the outputs.
    pages : bool
        The unit takes the chunks' pages.
    """

    def __init__(self, dut, golden, ports, patterns=("always", "always"), pages=False):
        self.dut, self.golden, self.pages = dut, golden, pages
        self.fresh = Fresh(dut)
        self.ports = {"o_command": (COMMAND, command_of), **ports}
        self.inputs = {name: StreamSource(dut, name, patterns[0], seed=seed)
                       for seed, name in enumerate(("i", "i_page") if pages else ("i",))}
        # The outputs wait at different times.
        self.sinks = {name: StreamSink(dut, name, patterns[1], seed=seed) for seed, name in enumerate(self.ports)}
        for name in (*self.ports, *self.inputs):
            StreamChecker(dut, name)
        self.announced = 0

    async def begin(self, job):
        """Reset the unit with the job's plan, and push its chunks."""
        await self.fresh(job)
        chunks = job.chunks()
        self.inputs["i"].push(chunk_bits(job, chunk) for chunk in chunks)
        if self.pages:
            self.inputs["i_page"].push(bits for chunk in chunks for bits in page_bits(job, chunk))

    async def compare(self, job, entries):
        """The next entries, on all ports."""
        for name, (layout, payload) in self.ports.items():
            got = await self.sinks[name].collect(len(entries), timeout=40 * len(entries) + 1000)
            for index, (bits, entry) in enumerate(zip(got, entries)):
                want, found = payload(entry), unpack(layout, bits)
                pack(layout, want)
                assert {key: found[key] for key in want} == want, f"{name}, entry {index}: {found}, not {want} of {job}"
        self.announced += len(entries)

    async def walk(self, job):
        """A whole job, and nothing after it; returns the number of entries."""
        await self.begin(job)
        entries = list(self.golden(job))
        await self.compare(job, entries)
        for source in self.inputs.values():
            await source.drained(2000)
        await self.silent()
        return len(entries)

    async def silent(self, cycles=20):
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)
        for sink in self.sinks.values():
            assert len(sink.received) == self.announced, "announced after the end"
