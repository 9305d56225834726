"""What the attention engine's testbenches share: random jobs, and the engine on a memory."""

import numpy as np
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import OutputFormat
from olivine.control.job import StatusCode
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.attention import Group, attend
from olivine_host.attention_jobs import AttentionJob, MergeJob, same_outputs

from tb.linear.bench import EngineBench, configuration

__all__ = ["random_group", "random_job", "random_merge", "AttentionBench"]

MEMORY_WORDS = 1 << 14
"""Memory of a bench, in words of L bytes."""


def random_group(rng, head_dim, rows, keys, key_format, value_format, q_format, heads=1):
    """A group of any codes, whose scores spread over a few octaves and now and then saturate."""
    def codes(lane_format):
        return rng.integers(0, 256 if lane_format is LaneFormat.INT8 else 16, (keys, head_dim)).astype(np.uint8)

    # A few of the wide containers hold more than 12 bits.
    top = 128 if q_format is RowFormat.INT8 else 2060
    tokens = -(-rows // heads)
    spread = (60 if key_format is LaneFormat.INT8 else 10) * top / 2 * head_dim ** .5
    gain = 256 * float(rng.choice([.5, 2, 8, 60])) / spread
    shift = int(np.clip(15 - np.floor(np.log2(gain)), 0, 63))
    return Group(rng.integers(-top, top, (rows, head_dim)), codes(key_format), codes(value_format),
                 int(rng.choice([keys - tokens, rng.integers(-3, keys + 3)])),
                 int(np.clip(gain * 2 ** shift, 1, 65535)), shift,
                 int(rng.choice([0, rng.integers(1, 1 << 16)])), int(rng.choice([25, rng.integers(20, 30)])))


def random_job(rng, config, *, head_dim=None, groups=None, rows=None, keys=None, key_format=None, value_format=None,
               heads=None, causal=None, window=None, o_format=None, lse=None, **more):
    """A job of random shape, mask and formats, its pages scattered over memory."""
    head_dim = head_dim or 8 * int(rng.integers(1, config.max_head_dim // 8 + 1))
    key_format = LaneFormat(int(rng.integers(0, 4))) if key_format is None else key_format
    value_format = LaneFormat(int(rng.integers(0, 4))) if value_format is None else value_format
    q_format = RowFormat(int(rng.integers(0, 2)))
    o_format = OutputFormat(int(rng.integers(0, 4))) if o_format is None else o_format
    heads = heads or int(rng.choice([1, 1, 2, 3, config.rows, 2 * config.rows + 1]))
    causal = bool(rng.integers(0, 2)) if causal is None else causal
    window = int(rng.choice([0, 0, 1, rng.integers(1, 4 * config.lanes)])) if window is None else window
    chunk = config.rows * config.attention_contexts(head_dim)
    made = []
    for _ in range(groups or int(rng.integers(1, 4))):
        count = rows or int(rng.choice([1, rng.integers(1, config.rows + 2), rng.integers(1, 2 * chunk + 2)]))
        length = keys or int(rng.choice([rng.integers(1, config.lanes + 1), rng.integers(1, 5 * config.lanes),
                                         2 * config.lanes]))
        made.append(random_group(rng, head_dim, count, length, key_format, value_format, q_format, heads))
    lse = (bool(rng.integers(0, 2)) if lse is None else lse) and o_format is not OutputFormat.PARTIAL
    offset = config.bus_bytes * int(rng.integers(0, 9))
    job = AttentionJob(config, made, heads=heads, causal=causal, window=window, key_format=key_format,
                       value_format=value_format, q_format=q_format, o_format=o_format, lse=lse,
                       **{"align": 16 * config.bus_bytes, "page_offset": offset, "seed": int(rng.integers(0, 1 << 16)),
                          "skew": int(rng.integers(0, 40)), **more})
    return job


def random_merge(rng, config):
    """Partial results of golden attention over split keys, to be merged."""
    head_dim = 8 * int(rng.integers(1, config.max_head_dim // 8 + 1))
    groups = []
    for _ in range(int(rng.integers(1, 3))):
        rows = int(rng.integers(1, 2 * config.rows * config.attention_contexts(head_dim)))
        groups.append([attend(random_group(rng, head_dim, rows, int(rng.integers(1, 3 * config.lanes)), LaneFormat.INT8,
                                           LaneFormat.INT8, RowFormat.INT12), lanes=config.lanes,
                              key_format=LaneFormat.INT8, value_format=LaneFormat.INT8, heads=1,
                              causal=bool(rng.integers(0, 2)), window=0)[0] for _ in range(int(rng.integers(1, 5)))])
    o_format = OutputFormat(int(rng.integers(0, 4)))
    return MergeJob(config, groups, [(0, 25)] * len(groups), o_format=o_format,
                    lse=o_format is not OutputFormat.PARTIAL and bool(rng.integers(0, 2)), align=16 * config.bus_bytes,
                    seed=int(rng.integers(0, 1 << 16)), skew=int(rng.integers(0, 40)))


class AttentionBench(EngineBench):
    """The engine, a memory on its bus, and a checker on every stream."""

    def __init__(self, dut, **more):
        super().__init__(dut, size=MEMORY_WORDS * configuration().lanes, **more)
        # There is no cache: these jobs bring their own lists of pages.
        for name in ("geometry", "lookup_ready", "found_valid", "found_payload", "appending", "event_ready"):
            getattr(dut, name).value = 0

    def load(self, job):
        """Fill memory with noise, and the job's operands in it; returns what memory must be outside the output."""
        noise = bytearray(self.rng.bytes(len(self.memory.memory)))
        for address, content in job.regions:
            noise[address:address + len(content)] = content
        self.memory.memory[:] = noise
        return noise

    def untouched(self, job, noise):
        """Whether every byte outside the job's results is as it was, and between its parts too."""
        first, size = job.output
        memory = self.memory.memory
        return memory[:first] == noise[:first] and memory[first + size:] == noise[first + size:]

    async def compute(self, job):
        """Run a job that must succeed, and check results, tallies and counters; returns its status."""
        while not self.dut.job_ready.value:
            await RisingEdge(self.dut.aclk)
        noise = self.load(job)
        reads, writes = len(self.memory.transfers["r"]), len(self.memory.transfers["w"])
        status = await self.submit(job.descriptor, timeout=400_000)
        shape = {name: value for name, value in vars(job).items() if name not in ("regions", "config", "groups")}
        assert status["code"] is StatusCode.OK, (shape, status)
        first, size = job.output
        expected, tallies = job.golden()
        found = job.unpack(bytes(self.memory.memory[first:first + size]))
        for index, (got, want) in enumerate(zip(found, expected)):
            assert same_outputs([got], [want]), (index, shape, got, want)
        assert self.untouched(job, noise), ("bytes outside the results changed", shape)
        seen = {name: status[name] for name in tallies}
        assert seen == tallies, (shape, seen, tallies)
        assert status["beats_read"] == len(self.memory.transfers["r"]) - reads, (shape, status)
        assert status["beats_written"] == len(self.memory.transfers["w"]) - writes, (shape, status)
        if hasattr(job, "limit"):
            assert status["array_useful"] == job.limit().multiplies, (shape, status)
        stalls = sum(value for name, value in status.items() if name.startswith("stall_"))
        assert status["array_busy"] + stalls < status["cycles"], (shape, status)
        return status
