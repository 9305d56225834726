"""Jobs over the key-value cache as memory images: operations, appends, attention and scores.

Each job takes its room from a `CacheMemory`; the cache itself lies where that says. So steps compose: open, append,
attend, commit. What a job gives depends on the jobs before it: `olivine_golden.cache_system` is their golden model.
"""

from dataclasses import dataclass

import numpy as np
from olivine.attention.descriptor import (
    ENTRY_BYTES,
    OPCODE_ATTENTION,
    OPCODE_SCORE,
    SEGMENT_BYTES,
    AttentionDescriptor,
    CachedGroup,
    OutputFormat,
    Segment,
)
from olivine.kvcache.append.descriptor import (
    OPCODE_APPEND,
    ROW_BYTES,
    SCALES_BYTES,
    AppendDescriptor,
    AppendRow,
    AppendScales,
)
from olivine.kvcache.descriptor import OPCODE_CACHE, CacheCommand, CacheOp, CachePolicy
from olivine.linear.descriptor import RowFormat

from .attention_jobs import _TableJob
from .cache_limits import append_limit, cached_limit
from .jobs import pack_rows

__all__ = ["cache_command", "AppendJob", "SegmentOf", "Request", "Batch", "CachedAttentionJob", "ScoreJob"]


def _bits(layout, **fields):
    return layout.const(fields).as_value().value


def _bytes(layout, **fields):
    return _bits(layout, **fields).to_bytes(layout.size // 8, "little")


def cache_command(op, handle=(0, 0), *, policy=CachePolicy.NONE, size=0, recent=0, chunk=0, count=0, path=None,
                  host=0):
    """The 256 bits of an operation on the cache.

    Parameters
    ----------
    op : CacheOp
    handle : (int, int)
        Slot and generation; OPEN does not look.
    policy, size, recent, chunk
        OPEN: policy; its window, or how many heavy hitters; of heavy hitters also the recent keys and the most tokens
        of a step.
    count : int
        APPEND tokens, COMMIT places, TRUNCATE length, SWAP_OUT blocks of the window.
    path : iterable of int or None
        COMMIT: offsets of the reserved places that are kept, instead of the first ``count``.
    host : int
        SWAP_OUT: where the window starts.
    """
    mask = 0 if path is None else sum(1 << place for place in set(path))
    return _bits(CacheCommand, opcode=OPCODE_CACHE, op=CacheOp(op), policy=CachePolicy(policy),
                 tree=int(path is not None), slot=handle[0], generation=handle[1], count=count, size=size,
                 recent=recent, chunk=chunk, path=mask, host=host)


class AppendJob:
    """Keys and values of one layer, for the reserved places of one or more sequences.

    Parameters
    ----------
    memory : CacheMemory
    steps : list of ((slot, generation), tokens)
        The sequences, and the places that each has reserved.
    keys, values : int [rows, KV heads * d]
        Rows of all steps, one after the other.
    scales : list of (key_mult, key_shift, value_mult, value_shift)
        Of each KV head of the layer.
    first_head : int
        ``layer * KV heads``.
    row_format : RowFormat
        Of ``keys`` and ``values``.

    Attributes
    ----------
    regions : list of (int, bytes)
        What memory must hold.
    descriptor : int
        256 bits.
    """

    def __init__(self, memory, steps, keys, values, scales, *, first_head=0, row_format=RowFormat.INT16):
        self.memory, self.steps, self.scales = memory, list(steps), list(scales)
        self.first_head, self.row_format = first_head, RowFormat(row_format)
        keys, values = np.asarray(keys), np.asarray(values)
        self.rows = sum(tokens for _, tokens in self.steps)
        shape = self.rows, len(self.scales) * memory.geometry["head_dim"]
        for name, array in (("keys", keys), ("values", values)):
            if array.shape != shape:
                raise ValueError(f"{name} are {array.shape}: must be {shape}, rows and channels")
        if not 1 <= self.rows <= memory.config.chunk_rows:
            raise ValueError(f"the job has {self.rows} rows: allowed is 1 to {memory.config.chunk_rows}")
        table = b"".join(_bytes(AppendRow, slot=slot, generation=generation, offset=offset)
                         for (slot, generation), tokens in self.steps for offset in range(tokens))
        names = "key_mult", "key_shift", "value_mult", "value_shift"
        sources = [pack_rows(array, memory.config.rows, self.row_format) for array in (keys, values)]
        parts = {"table": (table, ROW_BYTES), "keys": (sources[0], self.row_format.bytes),
                 "values": (sources[1], self.row_format.bytes),
                 "scales": (b"".join(_bytes(AppendScales, **dict(zip(names, scale))) for scale in self.scales),
                            SCALES_BYTES)}
        at = {name: memory.place(len(content), alignment) for name, (content, alignment) in parts.items()}
        self.regions = [(at[name], content) for name, (content, _) in parts.items()]
        self.descriptor = _bits(AppendDescriptor, opcode=OPCODE_APPEND, format=self.row_format.value,
                                heads=len(self.scales), first_head=first_head, rows=self.rows, **at)

    def limit(self):
        """The fewest cycles of any machine."""
        return append_limit(self.memory, self.rows, len(self.scales), self.row_format)


@dataclass(frozen=True)
class SegmentOf:
    """Consecutive places of a sequence that rows see, see `olivine.attention.descriptor.Segment`.

    Parameters
    ----------
    handle : (int, int)
        Slot and generation.
    end : int
        Position after the last; of cells the number ever used.
    first : int
        Entry of the block table.
    rows : int
        Mask of 64 bits.
    held : int or None
        Cells that hold a token, which the limit counts; by default all.
    """

    handle: tuple
    end: int
    first: int = 0
    rows: int = (1 << 64) - 1
    held: int | None = None


@dataclass(frozen=True)
class Request:
    """One group: the rows that attend in one KV head, and the segments that they see.

    Parameters
    ----------
    q : int [R, d]
    head : int
        ``layer * KV heads + KV head``.
    segments : list of SegmentOf
    position : int
        Of the first query token; of a tree the committed length.
    score_mult, score_shift, o_mult, o_shift : int
    tree : list of int, or None
        Mask of 64 bits of each row.
    place : (int, int, int) or None
        Of a job with a `Batch`: the group's first token, and the channels at which its queries and results begin.
        None: the group's rows lie by themselves.
    """

    q: np.ndarray
    head: int
    segments: list
    position: int
    score_mult: int
    score_shift: int
    o_mult: int = 0
    o_shift: int = 25
    tree: list | None = None
    place: tuple | None = None


@dataclass(frozen=True)
class Batch:
    """Rows of many sequences side by side, as of `olivine.attention.descriptor.CachedGroup`.

    Parameters
    ----------
    q : int [tokens, channels]
        What the queries' rows hold; those of the requests are written over it.
    o : int [tokens, channels]
        What the results' rows hold before. The number of tokens is a multiple of P in both.
    """

    q: np.ndarray
    o: np.ndarray


class CachedAttentionJob(_TableJob):
    """Attention over the cache.

    Parameters
    ----------
    memory : CacheMemory
    requests : list of Request
    heads : int
        Query heads that share a KV head.
    causal : bool
    window : int
        0 for no window.
    tree, cells, hitters : bool
        As of `olivine.attention.descriptor.AttentionDescriptor`.
    q_format : RowFormat
    o_format : OutputFormat
    lse : bool
        Write the log-sum-exp as well, behind the results.
    batch : Batch or None
        Where requests with a ``place`` lie.

    Attributes
    ----------
    regions : list of (int, bytes)
        Table, segments, masks and queries, and of a batch what results are written to.
    output : (int, int)
        Address and size of results and log-sum-exp of all groups; of a batch all its rows, between the two.
    descriptor : int
        256 bits.
    entries : list of dict
        The table's fields by name.
    """

    def __init__(self, memory, requests, *, heads=1, causal=True, window=0, tree=False, cells=False, hitters=False,
                 q_format=RowFormat.INT12, o_format=OutputFormat.INT16, lse=False, batch=None):
        self.memory, self.config, self.requests = memory, memory.config, list(requests)
        if not self.requests:
            raise ValueError("there is no request: a job has at least one")
        self.heads, self.causal, self.window = heads, bool(causal), window
        self.tree, self.cells, self.hitters = bool(tree), bool(cells), bool(hitters)
        self.q_format, self.o_format, self.lse = RowFormat(q_format), OutputFormat(o_format), bool(lse)
        self.head_dim = memory.geometry["head_dim"]
        for index, request in enumerate(self.requests):
            if np.shape(request.q)[1:] != (self.head_dim,):
                raise ValueError(f"request {index} has q {np.shape(request.q)}: must be [R, {self.head_dim}]")
            if self.tree != (request.tree is not None) or self.tree and len(request.tree) != len(request.q):
                raise ValueError(f"request {index} must have a mask for each row in a tree, and else none")
        self.entries, self.regions = [{
            name: int(getattr(request, name)) for name in
            ("head", "position", "score_mult", "score_shift", "o_mult", "o_shift")}
            | {"rows": len(request.q), "count": len(request.segments)} for request in self.requests], []
        placed = [request.place is not None for request in self.requests]
        if any(placed) and batch is None:
            raise ValueError(f"request {placed.index(True)} has a place in a batch: the job has none")
        self._put("q", [b"" if inside else pack_rows(request.q, self.config.rows, self.q_format)
                        for request, inside in zip(self.requests, placed)], self.q_format.bytes)
        self._put("segments", [b"".join(
            _bytes(Segment, slot=part.handle[0], generation=part.handle[1], first=part.first, end=part.end,
                   rows=part.rows) for part in request.segments) for request in self.requests], SEGMENT_BYTES)
        if self.tree:
            self._put("tree", [np.array(request.tree, "<u8").tobytes() for request in self.requests], 8)
        sizes = [0 if inside else size for inside, size in zip(placed, self._sizes)]
        rows = b"" if batch is None else pack_rows(batch.o, self.config.rows, RowFormat.INT16)
        start = memory.place(sum(sizes) + len(rows) + 4 * self.lse * sum(self._rows), 2 * self.config.rows)
        end = self._place(self.entries, "o", start + len(rows), sizes)
        if batch is not None:
            self.regions.append((start, rows))
            self._put_batch(batch, start)
        if self.lse:
            # Whole words, as the head dimension is a multiple of 8.
            end = self._place(self.entries, "lse", end, [4 * rows for rows in self._rows])
        self.output = start, end - start
        self.table = memory.place(len(self.entries) * ENTRY_BYTES, ENTRY_BYTES)
        self.regions.append((self.table, b"".join(_bytes(CachedGroup, **entry) for entry in self.entries)))
        self.descriptor = self._descriptor(OPCODE_ATTENTION, lse=int(self.lse), hitters=int(self.hitters))

    def _put(self, name, contents, alignment):
        """Each group's part of a kind, one after the other."""
        for entry, content in zip(self.entries, contents):
            entry[name] = self.memory.place(len(content), alignment)
            self.regions.append((entry[name], content))

    def unpack(self, image):
        """As of `AttentionJob`."""
        if any(request.place is not None for request in self.requests):
            raise ValueError("results in a batch lie among those of others: unpack the batch's rows")
        return super().unpack(image)

    def _put_batch(self, batch, results):
        """The batch's queries, and what entries say of it."""
        group, width = self.config.rows, self.head_dim
        rows = np.array(batch.q)
        for index, (entry, request) in enumerate(zip(self.entries, self.requests)):
            if request.place is None:
                continue
            token, q, o = request.place
            count = len(request.q)
            several = self.heads > 1
            if several and count != self.heads or not several and token % group and token % group + count > group:
                raise ValueError(f"request {index} has {count} rows from token {token} on: in a batch a group is one "
                                 "token's heads, or tokens of one head in a row group or from a first lane on")
            if several:
                rows[token, q:q + count * width] = np.reshape(request.q, -1)
            else:
                rows[token:token + count, q:q + width] = request.q
            for name, channel, array in (("q", q, batch.q), ("o", o, batch.o)):
                entry[f"{name}_words"] = array.shape[1]
                entry[name] = 2 * group * (token // group * array.shape[1] + channel)
            entry["o"] += results
            entry.update(batch=1, lane=token % group)
        content = pack_rows(rows, group, RowFormat.INT16)
        at = self.memory.place(len(content), 2 * group)
        self.regions.append((at, content))
        for entry, request in zip(self.entries, self.requests):
            entry["q"] += at * (request.place is not None)

    def _descriptor(self, opcode, **fields):
        return _bits(AttentionDescriptor, opcode=opcode, key_format=self.memory.key_format,
                     value_format=self.memory.value_format, q_format=self.q_format.value, o_format=self.o_format,
                     causal=int(self.causal), head_dim=self.head_dim, heads=self.heads, window=self.window,
                     groups=len(self.entries), table=self.table, cached=1, tree=int(self.tree), cells=int(self.cells),
                     **fields)

    @property
    def _rows(self):
        return [len(request.q) for request in self.requests]

    @property
    def _masks(self):
        return {name: getattr(self, name) for name in ("heads", "causal", "window", "q_format", "o_format", "tree",
                                                       "cells")}

    def limit(self):
        """The fewest cycles of any machine."""
        return cached_limit(self.memory, self.requests, **self._masks, lse=self.lse, hitters=self.hitters)


class ScoreJob:
    """Adds up the probabilities that the rows of an attention job over cells gave to the keys, and drops keys.

    It shares all regions of that job, which must have run, and must have written its log-sum-exp.

    Parameters
    ----------
    job : CachedAttentionJob

    Attributes
    ----------
    regions : list of (int, bytes)
        Empty.
    descriptor : int
    """

    regions = ()

    def __init__(self, job):
        if not (job.cells and job.lse) or job.hitters:
            raise ValueError("the job must be over cells, write its log-sum-exp, and leave the sums alone")
        self.job = job
        self.descriptor = job._descriptor(OPCODE_SCORE, hitters=1)

    def limit(self):
        """The fewest cycles of any machine."""
        return cached_limit(self.job.memory, self.job.requests, **self.job._masks, hitters=True, score=True)
