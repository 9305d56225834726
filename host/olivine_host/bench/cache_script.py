"""A list of jobs over the key-value cache, built up on the golden model: setup, preparation, and what is measured."""

from dataclasses import dataclass

import numpy as np
from olivine.control.job import StatusCode
from olivine.core.descriptor import OPCODE_SETUP, SetupDescriptor
from olivine.kvcache.descriptor import CacheOp, CachePolicy
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

from ..cache_jobs import AppendJob, CachedAttentionJob, Request, ScoreJob, SegmentOf, cache_command
from ..cache_memory import CacheMemory

__all__ = ["ScriptJob", "CacheScript"]

SPREAD = 1.5
"""Standard deviation of the scores as binary logarithms, as of `attention_workload`."""

SOURCE_STD = 4096
"""Of the 16-bit numbers that an append job stores."""

CODE_STD = {8: 40, 4: 3}
"""Of the stored codes, by their bits. Few saturate, and of outlier-victim codes some are outliers."""

LSE = 8 << 8
"""Log-sum-exp that preparation tells the score jobs of its steps, which have no attention job."""


@dataclass
class ScriptJob:
    """A job for the harness, and what golden says of it.

    Parameters
    ----------
    what : str
    descriptor : int
    regions : list of (int, bytes)
    output : (int, int)
        Address and size of the results.
    memory_bytes : int
    status : olivine_golden.cache_system.Status or None
        None: only that it ends well.
    expected : bytes or None
        The output's contents.
    joined : bool
        It is offered while the job before it runs.
    keeps : bool
        The output's region is not cleared before.
    """

    what: str
    descriptor: int
    regions: list
    output: tuple
    memory_bytes: int
    status: object = None
    expected: bytes | None = None
    joined: bool = False
    keeps: bool = False

    def agrees(self, result):
        """Whether a `JobResult` has golden's status, tallies and output."""
        got, want = result.status, self.status
        if want is None:
            return got["code"] is StatusCode.OK
        address = want.address if want.handle is None else want.handle.slot | want.handle.generation << 16
        return ((got["code"], got["detail"], got["address"]) == (want.code, want.detail, address)
                and all(got[name] == count for name, count in want.tallies.items())
                and (self.expected is None or result.output == self.expected))


class CacheScript:
    """Jobs, each run on golden as it is added. Numbers are random; keys, values and queries spread the softmax.

    Parameters
    ----------
    config : AcceleratorConfig
    heads, head_dim : int
        Pages of a block; all are one layer's, with a query head each.
    kv_format : LaneFormat
        Of keys and values.
    blocks : int
        Of the pool.
    cells : int
        Of a heavy-hitter sequence; 0 if there is none.
    host_blocks : int
        Room to swap out to.
    rows : int
        Rows of a head that attend, at most: the area for jobs is made for them.
    seed : int

    Attributes
    ----------
    jobs : list of ScriptJob
    measured : list of int
        Numbers of the jobs that are measured.
    memory : CacheMemory
    limit : Limit or None
        Of the measured jobs together.
    alone : int or None
        Number of a job that is the last measured one again, with nothing beside it.
    """

    def __init__(self, config, *, heads, head_dim, kv_format, blocks, cells=0, host_blocks=0, rows=1, seed=0):
        from olivine_golden.cache_system import CacheSystem

        self.config, self.heads, self.head_dim = config, heads, head_dim
        self.format = LaneFormat(kv_format)
        self.rng = np.random.default_rng(seed)
        # Keys and values of an append job, queries and 16-bit results of an attention job; and as much for the small.
        elements = heads * head_dim * (2 * config.chunk_rows + 2 * rows)
        self.memory = CacheMemory(config, heads=heads, head_dim=head_dim, key_format=self.format,
                                  value_format=self.format, blocks=blocks, log_cells=max(cells - 1, 0).bit_length(),
                                  host_blocks=host_blocks, job_bytes=4 * elements + (1 << 16) + 1024 * heads)
        image = self.memory.image()
        self.golden = CacheSystem(config, self.memory.geometry, image)
        setup = SetupDescriptor.const({"opcode": OPCODE_SETUP, "geometry": self.memory.geometry}).as_value().value
        self._setup = setup
        # All of memory is given, and a beat more, so that nothing that the harness reads back is undefined.
        self.jobs = [self._job("setup", setup, [(0, bytes(image) + bytes(config.bus_bytes))], keeps=True)]
        self.measured, self.limit, self.alone = [], None, None

    def _job(self, what, descriptor, regions=(), output=(0, 0), **options):
        return ScriptJob(what, descriptor, list(regions), output,
                         self.memory.memory_bytes + self.config.bus_bytes, **options)

    def run(self, what, descriptor, regions=(), output=None, *, joined=False, measured=None):
        """Add a job; ``measured`` is its `Limit`, or None if it is not measured. Returns the new handle, if any."""
        memory = self.golden.memory
        for address, content in regions:
            memory[address:address + len(content)] = content
        status = self.golden.run(descriptor)
        if not status.ok:
            raise ValueError(f"job {len(self.jobs)}, {what}: golden ends it with {status}")
        at, size = output or (0, 0)
        self.jobs.append(self._job(what, descriptor, regions, (at, size), status=status, joined=joined,
                                   keeps=output is None, expected=bytes(memory[at:at + size]) if output else None))
        if measured:
            self.measured.append(len(self.jobs) - 1)
            self.limit = self.limit + measured if self.limit else measured
        return status.handle

    def operate(self, op, handle=(0, 0), **fields):
        """Add an operation on the cache."""
        return self.run(op.name, cache_command(op, handle, **fields))

    def dump(self):
        """A job that changes nothing and reads back everything but the area for jobs."""
        start = self.memory.pool[0]
        return self._job("read back", self._setup, output=(start, self.memory.memory_bytes - start), keeps=True)

    def kept(self):
        """What golden says that `dump` reads."""
        return bytes(self.golden.memory[self.memory.pool[0]:])

    # Parts of a step

    def open(self, policy=None):
        """A new sequence, by default one that keeps everything; ``policy`` is heavy, recent, chunk."""
        if policy is None:
            return self.operate(CacheOp.OPEN)
        heavy, recent, chunk = policy
        return self.operate(CacheOp.OPEN, policy=CachePolicy.HEAVY, size=heavy, recent=recent, chunk=chunk)

    def append(self, handle, tokens, *, measured=False):
        """Add the append job for the reserved places of all heads."""
        shape = tokens, self.heads * self.head_dim
        keys, values = (np.clip(np.rint(self.rng.normal(0, SOURCE_STD, shape)), -1 << 15, (1 << 15) - 1).astype(int)
                        for _ in "kv")
        # 4-bit formats store half units.
        bits = self.format.bits
        mult = (CODE_STD[bits] << 16) // SOURCE_STD * (2 if bits == 4 else 1)
        job = AppendJob(self.memory, [(handle, tokens)], keys, values, [(mult, 16) * 2] * self.heads,
                        row_format=RowFormat.INT16)
        self.run(f"append {tokens}", job.descriptor, job.regions, measured=job.limit() if measured else None)

    def extend(self, handle, tokens):
        """Add whole steps of ``tokens`` together, each of a chunk's rows at most."""
        while tokens:
            step = min(tokens, self.config.chunk_rows)
            self.memory.reset()
            self.operate(CacheOp.APPEND, handle, count=step)
            self.append(handle, step)
            sequence = self.sequence(handle)
            if sequence.is_heavy:
                # The sums must take up the step: of one row a head, without attention.
                job = self.cells(handle, 1, causal=False, lse=True)
                first = job.entries[0]["lse"]
                lse = np.full(self.heads, LSE, "<i4").tobytes()
                self.run("score", ScoreJob(job).descriptor, [*job.regions, (first, lse)])
            self.operate(CacheOp.COMMIT, handle, count=step)
            tokens -= step
        self.memory.reset()

    def sequence(self, handle):
        """The golden `Sequence`."""
        return self.golden.cache.lookup(handle)[1]

    # Attention

    def request(self, head, rows, segments, position):
        q = self.rng.integers(-2048, 2048, (rows, self.head_dim))
        typical = 4096 / np.sqrt(12) * CODE_STD[self.format.bits] * np.sqrt(self.head_dim)
        scale = SPREAD * 256 / typical
        # mult has 16 bits; its leading one is kept in bit 15.
        shift = int(np.clip(15 - np.floor(np.log2(scale)), 0, 63))
        return Request(q, head, segments, position, int(round(scale * 2.0 ** shift)), shift)

    def attention(self, requests, **options):
        """A `CachedAttentionJob`, for `attend`."""
        return CachedAttentionJob(self.memory, requests, **options)

    def cells(self, handle, rows, **options):
        """The same over the cells of a heavy-hitter sequence with a step, ``rows`` in every head."""
        sequence = self.sequence(handle)
        segment = SegmentOf(handle, sequence.filled, held=sequence.used + sequence.reserved)
        return self.attention([self.request(head, rows, [segment], sequence.length) for head in range(self.heads)],
                              cells=True, **options)

    def attend(self, job, *, joined=False, measured=True):
        self.run("attend", job.descriptor, job.regions, job.output, joined=joined,
                 measured=job.limit() if measured else None)

    def score(self, job, *, joined=False):
        """The score job that belongs to an attention job."""
        score = ScoreJob(job)
        self.run("score", score.descriptor, joined=joined, measured=score.limit())
