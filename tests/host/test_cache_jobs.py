"""Jobs over the cache in memory: read back by the text of the layouts; the address map; the limits, counted pair by
pair."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from olivine.attention.descriptor import (
    OPCODE_SCORE,
    AttentionDescriptor,
    CachedGroup,
    OutputFormat,
    Segment,
    partial_words,
)
from olivine.config import PRESETS, AcceleratorConfig, ConfigError
from olivine.kvcache.append.descriptor import AppendDescriptor, AppendRow, AppendScales
from olivine.kvcache.descriptor import BLOCK_UNIT, CacheCommand, CacheGeometry, CacheOp, CachePolicy
from olivine.kvcache.page import page_bytes
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden import cached_attention as golden
from olivine_host.cache_jobs import AppendJob, CachedAttentionJob, Request, ScoreJob, SegmentOf, cache_command
from olivine_host.cache_limits import append_limit, cached_limit
from olivine_host.cache_memory import CacheMemory

from tests.host.test_attention_jobs import fields

TINY = PRESETS["tiny"]
WIDE = AcceleratorConfig("wide", 4, 16, 128, 2, 64, 512, 512)
INT8, OVP = LaneFormat.INT8, LaneFormat.OVP4_INT


def memory_of(config=TINY, **options):
    return CacheMemory(config, **{"heads": 4, "head_dim": 16, "blocks": 12, **options})


def read(job, address, size):
    """Bytes of a job's regions; each must lie in one."""
    for start, content in job.regions:
        if start <= address and address + size <= start + len(content):
            return bytes(content[address - start:address - start + size])
    raise AssertionError(f"no region holds {size} bytes at {address:#x}")


def read_fields(job, layout, address):
    return fields(layout, int.from_bytes(read(job, address, layout.size // 8), "little"))


# The address map.


@pytest.mark.parametrize("config, key_format, value_format", [(TINY, INT8, INT8), (WIDE, OVP, INT8)])
def test_address_map(config, key_format, value_format):
    memory = memory_of(config, key_format=key_format, value_format=value_format, log_cells=5, host_blocks=3,
                       page_gap=2 * config.bus_bytes)
    page = page_bytes(config.lanes, config.bus_bytes, 16, key_format, value_format) + 2 * config.bus_bytes
    found = fields(CacheGeometry, memory.geometry_bits)
    assert found == {name: getattr(value, "value", value) for name, value in memory.geometry.items()}
    assert found["page_bytes"] == page and found["heads"] == 4
    assert 4 * page <= memory.block_bytes < 4 * page + BLOCK_UNIT
    assert memory.block_bytes == found["block_units"] * BLOCK_UNIT
    parts = [memory.jobs, memory.pool, memory.records, memory.host]
    for (a, size), (b, _) in zip(parts, parts[1:]):
        assert a + size == b and b % BLOCK_UNIT == 0
    assert sum(parts[-1]) == memory.memory_bytes == len(memory.image())
    assert memory.pool[1] == 12 * memory.block_bytes and memory.host[1] == 3 * memory.block_bytes
    # The layout's own words: base + b * block_units * BLOCK_UNIT + h * page_bytes; records + (s * heads + h) * N * 8.
    assert memory.page(5, 3) == found["base"] + 5 * found["block_units"] * 4096 + 3 * page
    assert memory.record(2, 3) == found["records"] + (2 * 4 + 3) * 32 * 8
    assert memory.record(config.sequences - 1, 3) + 32 * 8 <= sum(memory.records)


@pytest.mark.parametrize("options, match", [
    ({"blocks": 65}, "blocks is 65: allowed is 1 to 64"), ({"log_cells": 8}, "log_cells is 8: allowed is 0 to 7"),
    ({"head_dim": 40}, "head_dim is 40: allowed is 8 to 32"), ({"head_dim": 12}, "head_dim is 12"),
    ({"page_gap": 2}, "page_gap 2"), ({"heads": 0}, "heads is 0")])
def test_impossible_caches(options, match):
    with pytest.raises(ValueError, match=match):
        memory_of(**options)


def test_a_cache_past_the_address_space():
    with pytest.raises(ConfigError, match="addresses have 16 bits"):
        memory_of(replace(TINY, addr_width=16))


def test_room_for_jobs():
    """Aligned as asked for, and to whole beats."""
    memory = memory_of(job_bytes=4096)
    assert [memory.place(10, 8), memory.place(3, 64), memory.place(1, 1)] == [0, 64, 68]
    with pytest.raises(ValueError, match="needs 4096 bytes at 0x1000"):
        memory.place(4096)
    memory.reset()
    assert memory.place(4096) == 0


# Operations.


@pytest.mark.parametrize("options, expected", [
    ({"op": CacheOp.OPEN, "policy": CachePolicy.HEAVY, "size": 9, "recent": 7, "chunk": 3},
     {"op": 0, "policy": 2, "size": 9, "recent": 7, "chunk": 3}),
    ({"op": CacheOp.APPEND, "handle": (3, 65_535), "count": 5},
     {"op": 1, "slot": 3, "generation": 65_535, "count": 5}),
    ({"op": CacheOp.COMMIT, "handle": (1, 2), "path": [0, 3, 63]},
     {"op": 4, "slot": 1, "generation": 2, "tree": 1, "path": 1 | 8 | 1 << 63}),
    ({"op": CacheOp.COMMIT, "handle": (1, 2), "path": []}, {"op": 4, "slot": 1, "generation": 2, "tree": 1}),
    ({"op": CacheOp.SWAP_OUT, "handle": (1, 2), "count": 7, "host": 0x12345000},
     {"op": 6, "slot": 1, "generation": 2, "count": 7, "host": 0x12345000})])
def test_operations(options, expected):
    zeros = dict.fromkeys((name for name, _ in CacheCommand), 0)
    assert fields(CacheCommand, cache_command(**options)) == {**zeros, "opcode": 5, **expected}


# Appends.


@pytest.mark.parametrize("row_format", [RowFormat.INT8, RowFormat.INT16])
def test_append_job(row_format):
    rng = np.random.default_rng(1)
    memory = memory_of(WIDE)
    keys, values = rng.integers(-128, 128, (2, 7, 32))
    scales = [(1, 2, 3, 4), (65_535, 63, 40_000, 0)]
    job = AppendJob(memory, [((3, 9), 5), ((0, 1), 2)], keys, values, scales, first_head=2, row_format=row_format)
    found = fields(AppendDescriptor, job.descriptor)
    assert {name: found[name] for name in ("opcode", "format", "heads", "first_head", "rows", "channels", "full")} == {
        "opcode": 4, "format": row_format.value, "heads": 2, "first_head": 2, "rows": 7, "channels": 0, "full": 0}
    for index in range(7):
        handle = (3, 9, index) if index < 5 else (0, 1, index - 5)
        assert tuple(read_fields(job, AppendRow, found["table"] + 8 * index).values()) == (*handle, 0)
    for head, scale in enumerate(scales):
        entry = read_fields(job, AppendScales, found["scales"] + 8 * head)
        assert entry == dict(zip(("key_mult", "key_shift", "zero_key", "value_mult", "value_shift", "zero_value"),
                                 (*scale[:2], 0, *scale[2:], 0)))
    # [row group][channel][P]: 4 rows, then the 3 that are left.
    size = row_format.bytes
    for name, array in (("keys", keys), ("values", values)):
        for row, channel in np.ndindex(array.shape):
            group, lane = divmod(row, 4)
            width = 4 if group == 0 else 3
            at = found[name] + (group * 4 * 32 + channel * width + lane) * size
            assert int.from_bytes(read(job, at, size), "little", signed=True) == array[row, channel]
    assert_apart(job, memory)
    assert job.limit() == append_limit(memory, 7, 2, row_format)
    assert (job.limit().bytes_read, job.limit().bytes_written) == (2 * 7 * 32 * size, 2 * 7 * 32)
    four = memory_of(WIDE, key_format=OVP)
    assert append_limit(four, 7, 2, row_format).bytes_written == 7 * 32 * 3 // 2


def assert_apart(job, memory):
    """Regions and results do not overlap, and lie in the area for jobs."""
    spans = [(start, start + len(content)) for start, content in job.regions]
    if hasattr(job, "output"):
        spans.append((job.output[0], sum(job.output)))
    for (a, b), (c, d) in combinations(spans, 2):
        assert b <= c or d <= a
    assert all(memory.jobs[0] <= a and b <= sum(memory.jobs) for a, b in spans)


def test_impossible_appends():
    memory = memory_of()
    rows = np.zeros((9, 16), int)
    with pytest.raises(ValueError, match=r"keys are \(2, 16\): must be \(3, 16\)"):
        AppendJob(memory, [((0, 0), 3)], rows[:2], rows[:3], [(1, 0, 1, 0)])
    with pytest.raises(ValueError, match="has 9 rows: allowed is 1 to 8"):
        AppendJob(memory, [((0, 0), 9)], rows, rows, [(1, 0, 1, 0)])
    with pytest.raises(ValueError, match="int8 container"):
        AppendJob(memory, [((0, 0), 3)], rows[:3] + 128, rows[:3], [(1, 0, 1, 0)], row_format=RowFormat.INT8)


# Attention.


def request_of(rng, rows=5, tree=None, segments=None, head=2, position=-3):
    segments = segments or [SegmentOf((1, 2), 40), SegmentOf((3, 4), 50, 3, 0b1011)]
    return Request(rng.integers(-128, 128, (rows, 16)), head, segments, position, score_mult=9, score_shift=8,
                   o_mult=7, o_shift=6, tree=tree)


@pytest.mark.parametrize("q_format, o_format, lse", [
    (RowFormat.INT8, OutputFormat.INT8, True), (RowFormat.INT12, OutputFormat.INT16, False),
    (RowFormat.INT12, OutputFormat.PARTIAL, False)])
def test_attention_job(q_format, o_format, lse):
    rng = np.random.default_rng(2)
    memory = memory_of(WIDE)
    memory.place(5, 1)
    requests = [request_of(rng), request_of(rng, rows=3, head=0, position=7)]
    job = CachedAttentionJob(memory, requests, heads=2, causal=True, window=11, q_format=q_format, o_format=o_format,
                             lse=lse)
    found = fields(AttentionDescriptor, job.descriptor)
    assert found == {
        "opcode": 2, "key_format": 3, "value_format": 3, "q_format": q_format.value, "o_format": o_format.value,
        "causal": 1, "lse": int(lse), "head_dim": 16, "heads": 2, "window": 11, "groups": 2, "table": job.table,
        "cached": 1, "tree": 0, "cells": 0, "hitters": 0, "reserved": 0}
    assert job.table % 64 == 0
    start, results = job.output[0], 0
    for index, request in enumerate(requests):
        entry = read_fields(job, CachedGroup, job.table + 64 * index)
        assert {name: entry[name] for name in ("head", "rows", "count", "position", "tree")} == {
            "head": request.head, "rows": len(request.q), "count": 2, "position": request.position, "tree": 0}
        assert [entry[name] for name in ("score_mult", "score_shift", "o_mult", "o_shift")] == [9, 8, 7, 6]
        assert not any(number for name, number in entry.items() if name.startswith(("zero", "reserved")))
        for number, part in enumerate(request.segments):
            segment = read_fields(job, Segment, entry["segments"] + 32 * number)
            assert segment == {"slot": part.handle[0], "generation": part.handle[1], "first": part.first,
                               "zero_first": 0, "end": part.end, "zero_end": 0, "rows": part.rows, "reserved": 0}
        assert entry["segments"] % 32 == 0 and entry["q"] % q_format.bytes == 0
        for row, dim in np.ndindex(request.q.shape):
            group, lane = divmod(row, 4)
            width = min(4, len(request.q) - 4 * group)
            at = entry["q"] + (group * 4 * 16 + dim * width + lane) * q_format.bytes
            assert int.from_bytes(read(job, at, q_format.bytes), "little", signed=True) == request.q[row, dim]
        assert entry["o"] == start + results
        results += len(request.q) * (2 * partial_words(16) if o_format is OutputFormat.PARTIAL else 16 * o_format.bytes)
        assert not lse or entry["lse"] % 4 == 0
    if lse:
        first, second = (read_fields(job, CachedGroup, job.table + 64 * index)["lse"] for index in range(2))
        assert first >= start + results and second == first + 4 * 5 and sum(job.output) == second + 4 * 3
    assert_apart(job, memory)


def test_trees_and_scores():
    rng = np.random.default_rng(3)
    memory = memory_of()
    masks = [1, 3, 1 << 63, 5, 0]
    tree = CachedAttentionJob(memory, [request_of(rng, tree=masks, segments=[SegmentOf((0, 0), 9)])], tree=True)
    at = tree.entries[0]["tree"]
    assert at % 8 == 0 and [int.from_bytes(read(tree, at + 8 * row, 8), "little") for row in range(5)] == masks
    assert fields(AttentionDescriptor, tree.descriptor)["tree"] == 1
    cells = CachedAttentionJob(memory, [request_of(rng, segments=[SegmentOf((0, 0), 9)])], cells=True, lse=True)
    found, score = (fields(AttentionDescriptor, job.descriptor) for job in (cells, ScoreJob(cells)))
    assert (found["cells"], found["hitters"], found["lse"]) == (1, 0, 1)
    assert score == {**found, "opcode": OPCODE_SCORE, "hitters": 1, "lse": 0}
    decode = CachedAttentionJob(memory, [request_of(rng, segments=[SegmentOf((0, 0), 9)])], cells=True, hitters=True)
    assert fields(AttentionDescriptor, decode.descriptor)["hitters"] == 1
    for job in (tree, decode):
        with pytest.raises(ValueError, match="over cells"):
            ScoreJob(job)
    with pytest.raises(ValueError, match="mask for each row"):
        CachedAttentionJob(memory, [request_of(rng, tree=masks[:4])], tree=True)
    with pytest.raises(ValueError, match="mask for each row"):
        CachedAttentionJob(memory, [request_of(rng, tree=masks)])
    with pytest.raises(ValueError, match=r"must be \[R, 16\]"):
        CachedAttentionJob(memory, [replace(request_of(rng), q=np.zeros((3, 8), int))])
    with pytest.raises(ValueError, match="no request"):
        CachedAttentionJob(memory, [])


# Limits.


def count(requests, lanes, heads, causal, window):
    """Pairs of a row and a key, and distinct keys, one by one, from the golden model's masks."""
    pairs, distinct = 0, set()
    for request in requests:
        parts = [golden.Segment(*np.zeros((2, part.end - part.first * lanes, 16), np.uint8), part.first, part.rows)
                 for part in request.segments]
        group = golden.CachedGroup(request.q, parts, request.position, 1, 0, tree=request.tree)
        for number, part in enumerate(request.segments):
            seen = golden.keys_seen(group, number, part.first * lanes, len(parts[number].k_codes), heads=heads,
                                    causal=causal, window=window)
            pairs += int(seen.sum())
            distinct |= {(part.handle, request.head, part.first * lanes + int(key))
                         for key in np.flatnonzero(seen.any(axis=0))}
    return pairs, len(distinct)


@pytest.mark.parametrize("tree", [False, True])
def test_limit_of_attention(tree):
    rng = np.random.default_rng(4)
    memory = memory_of(key_format=OVP)
    for _ in range(60):
        heads, causal, window = int(rng.integers(1, 4)), bool(rng.integers(2)), int(rng.choice([0, 0, 1, 9, 70]))
        requests = []
        for _ in range(int(rng.integers(1, 4))):
            rows = int(rng.integers(1, 70))
            parts = [SegmentOf((int(rng.integers(2)), 0), int(rng.integers(17, 60)), int(rng.integers(0, 3)),
                               int(rng.choice([0, 5, (1 << 64) - 1, 1 << 63])))
                     for _ in range(1 if tree else int(rng.integers(1, 4)))]
            masks = [int(mask) for mask in rng.integers(0, 1 << 63, rows, np.uint64)] if tree else None
            requests.append(request_of(rng, rows, masks, parts, int(rng.integers(2)), int(rng.integers(-3, 60))))
        options = {"heads": heads, "causal": causal, "window": window}
        pairs, keys = count(requests, TINY.lanes, **options)
        limit = cached_limit(memory, requests, q_format=RowFormat.INT12, o_format=OutputFormat.INT8, lse=True,
                             tree=tree, **options)
        rows = sum(len(request.q) for request in requests)
        assert limit.multiplies == 2 * 16 * pairs
        assert limit.bytes_read == keys * 16 * 12 // 8 + rows * 32
        assert limit.bytes_written == rows * (16 + 4)
        assert (limit.bus_bytes, limit.multipliers) == (4, 16)


def test_limit_of_a_shared_prefix():
    """Four rows that see the same 32 keys, and 8 each of their own: 64 keys read, 160 multiplied with."""
    rng = np.random.default_rng(5)
    parts = [SegmentOf((0, 0), 32)] + [SegmentOf((slot, 0), 40, 4, 1 << slot) for slot in range(4)]
    job = CachedAttentionJob(memory_of(), [request_of(rng, 4, segments=parts, head=head) for head in (0, 1)],
                             causal=False)
    assert job.limit().bytes_read == 2 * (64 * 32 + 4 * 32) and job.limit().multiplies == 2 * 2 * 16 * 160


def test_limits_of_heavy_hitters():
    """20 cells of which 17 hold a token, three of them this step's; two query heads."""
    rng = np.random.default_rng(6)
    memory = memory_of()
    request = request_of(rng, 6, segments=[SegmentOf((0, 0), 20, held=17)], position=30)
    prefill = CachedAttentionJob(memory, [request], heads=2, cells=True, lse=True)
    pairs = 2 * (15 + 16 + 17)
    assert prefill.limit().multiplies == 2 * 16 * pairs
    assert prefill.limit().bytes_read == 17 * 32 + 6 * 32 + 20 * 2
    assert prefill.limit().bytes_written == 6 * (32 + 4)
    score = ScoreJob(prefill).limit()
    assert score.multiplies == 16 * pairs and score.bytes_read == 17 * 16 + 6 * (32 + 4) + 20 * 6
    assert score.bytes_written == 20 * 6
    decode = CachedAttentionJob(memory, [request], heads=2, cells=True, hitters=True, window=16).limit()
    assert decode.multiplies == 2 * 16 * 2 * (15 + 16 + 16)
    assert decode.bytes_read == 17 * 32 + 6 * 32 + 20 * 6 and decode.bytes_written == 6 * 32 + 20 * 6
