"""What the golden accelerator refuses of jobs over the cache: each check alone."""

from copy import deepcopy

import numpy as np
import pytest
from olivine.attention.descriptor import (
    CACHED_FIELDS,
    FIELDS,
    SEGMENT_FIELDS,
    AttentionDescriptor,
    CachedGroup,
    Segment,
)
from olivine.control.job import StatusCode
from olivine.kvcache.descriptor import CachePolicy, CacheStatus
from olivine_host.cache_jobs import CachedAttentionJob, Request, ScoreJob, SegmentOf, cache_command

from tests.kvcache.cache_machine import HEADS, KV_HEADS, LAYERS, OPS, D, Machine, hitter_layer


@pytest.fixture(scope="module")
def prepared():
    """A machine with a plain sequence of 12 tokens and 3 reserved, written in layer 0 only, and a heavy-hitter sequence
    of 4 and 2 reserved, written everywhere."""
    machine = Machine(5)
    machine.plain, machine.heavy = machine.open(), machine.open(CachePolicy.HEAVY, 4, 4, 4)
    for tokens in (4, 4, 4):
        machine.step(machine.plain, tokens)
    machine.reserve(machine.plain, 3)
    machine.write([(machine.plain, 3)], layers=[0])
    machine.reserve(machine.heavy, 4)
    machine.write([(machine.heavy, 4)])
    for layer in range(LAYERS):
        hitter_layer(machine, machine.heavy, layer, 4, True)
    machine.commit(machine.heavy, 4)
    machine.reserve(machine.heavy, 2)
    machine.write([(machine.heavy, 2)])
    machine.memory.reset()
    return machine


@pytest.fixture
def ready(prepared):
    """A copy of it for one test."""
    return deepcopy(prepared)


def job_of(machine, kind, rows=None, head=0, **options):
    seq = machine.plain if kind in ("plain", "tree") else machine.heavy
    end = 15 if kind in ("plain", "tree") else 6
    options = {"plain": {}, "tree": {"tree": True}, "cells": {"cells": True, "lse": True},
               "hitters": {"cells": True, "hitters": True}}[kind] | options
    rows = rows or {"hitters": 2}.get(kind, 4)
    tree = [1 << 63 | 1] * rows if kind == "tree" else None
    requests = [Request(np.ones((rows, D), int), head, [SegmentOf(seq.handle, end)], 12 if tree else seq.length,
                        score_mult=1, score_shift=8, tree=tree)]
    return CachedAttentionJob(machine.memory, requests, heads=HEADS, **options)


def poke(layout, value, **fields):
    for name, number in fields.items():
        field = layout[name]
        value = value & ~((1 << field.width) - 1 << field.offset) | number << field.offset
    return value


def refused(machine, job, descriptor=None, entry=None, segment=None):
    """Status of a job with some fields changed; that memory and cache are untouched."""
    for address, content in job.regions:
        machine.image[address:address + len(content)] = content
    for layout, address, changes in ((CachedGroup, job.table, entry), (Segment, job.entries[0]["segments"], segment)):
        if changes:
            bits = int.from_bytes(machine.image[address:address + layout.size // 8], "little")
            machine.image[address:address + layout.size // 8] = poke(layout, bits, **changes).to_bytes(
                layout.size // 8, "little")
    before = bytes(machine.image), repr(machine.system.cache.slots)
    status = machine.system.run(poke(AttentionDescriptor, job.descriptor, **descriptor or {}))
    if not status.ok:
        assert (bytes(machine.image), repr(machine.system.cache.slots)) == before
    return status


@pytest.mark.parametrize("kind, field, value", [
    ("plain", "key_format", 0), ("plain", "value_format", 2), ("plain", "q_format", 2), ("plain", "q_format", 3),
    ("plain", "head_dim", 8), ("plain", "heads", 0), ("plain", "groups", 0), ("plain", "table", 32),
    ("plain", "hitters", 1), ("plain", "reserved", 1), ("hitters", "o_format", 3), ("cells", "tree", 1),
    ("plain", "table", 1 << 32)])
def test_descriptors(ready, kind, field, value):
    expected = "hitters" if field == "o_format" else field
    status = refused(ready, job_of(ready, kind), {field: value})
    assert (status.code, FIELDS[status.detail]) == (StatusCode.BAD_FIELD, expected)


@pytest.mark.parametrize("changes, expected", [
    ({"lse": 1, "o_format": 3}, "lse"), ({"opcode": 6}, "hitters"), ({"opcode": 6, "hitters": 1}, "cells"),
    ({"cached": 0, "tree": 1}, "tree"), ({"cached": 0, "cells": 1}, "cells"),
    ({"cached": 0, "hitters": 1}, "hitters"), ({"tree": 1, "cells": 1}, "tree")])
def test_descriptors_of_several_fields(ready, changes, expected):
    status = refused(ready, job_of(ready, "plain"), changes)
    expected = "hitters" if changes == {"opcode": 6, "hitters": 1} else expected
    assert (status.code, FIELDS[status.detail]) == (StatusCode.BAD_FIELD, expected)


@pytest.mark.parametrize("kind, field, value", [
    ("plain", "q", 1), ("plain", "o", 1), ("cells", "lse", 2), ("plain", "zero_shift", 1), ("plain", "segments", 16),
    ("plain", "head", 4), ("plain", "rows", 0), ("plain", "count", 0), ("plain", "count", 65), ("tree", "count", 2),
    ("cells", "count", 2), ("hitters", "rows", 3), ("plain", "zero_rows", 1), ("plain", "zero_position", 1),
    ("tree", "tree", 4), ("plain", "zero_tree", 1), ("plain", "reserved", 1), ("plain", "q", 1 << 33)])
def test_entries(ready, kind, field, value):
    job = job_of(ready, kind)
    status = refused(ready, job, entry={field: value})
    assert (status.code, CACHED_FIELDS[status.detail], status.address) == (StatusCode.BAD_ENTRY, field, job.table)


@pytest.mark.parametrize("entry, expected", [
    ({"batch": 1}, None), ({"batch": 1, "lane": 1}, None), ({"batch": 1, "lane": 2}, "lane"),
    ({"batch": 1, "q_words": 5, "o_words": 6}, None), ({"lane": 1}, "lane"), ({"q_words": 1}, "q_words"),
    ({"o_words": 1}, "o_words"), ({"batch": 1, "rows": 1}, "rows"), ({"batch": 1, "q": 2}, "q"),
    ({"batch": 1, "o": 2}, "o"), ({"batch": 1, "reserved": 1}, "reserved")])
def test_entries_in_a_batch(ready, entry, expected):
    """Two query heads of a token, which are two rows."""
    job = job_of(ready, "plain", rows=HEADS)
    status = refused(ready, job, entry=entry)
    assert status.ok if expected is None else CACHED_FIELDS[status.detail] == expected


@pytest.mark.parametrize("o_format", [0, 3])
def test_a_batch_has_wide_results(ready, o_format):
    status = refused(ready, job_of(ready, "plain", rows=HEADS), {"o_format": o_format}, {"batch": 1})
    assert CACHED_FIELDS[status.detail] == "batch"


@pytest.mark.parametrize("kind, field, value, expected", [
    ("plain", "slot", 3, "slot"), ("plain", "slot", 99, "slot"), ("plain", "generation", 7, "generation"),
    ("plain", "first", 2, "first"), ("plain", "first", 5, "first"), ("plain", "zero_first", 1, "zero_first"),
    ("plain", "end", 0, "end"), ("plain", "end", 16, "end"), ("plain", "zero_end", 1, "zero_end"),
    ("plain", "reserved", 1, "reserved"), ("cells", "end", 5, "end"), ("cells", "end", 7, "end"),
    ("cells", "first", 1, "first"), ("cells", "slot", 0, "end"), ("hitters", "slot", 0, "end"),
    ("plain", "slot", 1, "end")])
def test_segments(ready, kind, field, value, expected):
    job = job_of(ready, kind)
    status = refused(ready, job, segment={field: value})
    assert (status.code, SEGMENT_FIELDS[status.detail], status.address) == (
        StatusCode.BAD_SEGMENT, expected, job.entries[0]["segments"])


def test_what_legal_jobs_may_leave_open(ready):
    """Fields that a job does not use are not looked at; a score job has any number of rows."""
    for kind, entry in (("plain", {"lse": 1}), ("plain", {"tree": 3}), ("cells", {"tree": 3})):
        assert refused(ready, job_of(ready, kind), entry=entry).ok
    for changes in ({"end": 12}, {"first": 1}, {"end": 15}):
        assert refused(ready, job_of(ready, "plain"), segment=changes).ok
    assert refused(ready, job_of(ready, "tree")).ok


def test_what_is_not_modelled(ready):
    job = job_of(ready, "plain")
    with pytest.raises(ValueError, match="cached is 0"):
        refused(ready, job, {"cached": 0})
    with pytest.raises(ValueError, match="opcode is 3"):
        refused(ready, job, {"opcode": 3})
    with pytest.raises(ValueError, match="memory has"):
        refused(ready, job, entry={"o": len(ready.image) - 8})
    with pytest.raises(ValueError, match="memory has"):
        refused(ready, job, {"table": len(ready.image)})


def test_a_score_job_reads_the_log_sum_exp(ready):
    """Whether or not the descriptor asks for it to be written."""
    job = job_of(ready, "cells")
    status = refused(ready, job, {"opcode": 6, "hitters": 1, "lse": 0}, entry={"lse": job.entries[0]["lse"] + 2})
    assert (status.code, CACHED_FIELDS[status.detail]) == (StatusCode.BAD_ENTRY, "lse")


def test_positions_of_heavy_hitters_cannot_be_named(ready):
    """All of the segment lies below the sequence's length, and yet."""
    status = refused(ready, job_of(ready, "plain"), segment={"slot": ready.heavy.handle.slot, "end": 3})
    assert (status.code, SEGMENT_FIELDS[status.detail]) == (StatusCode.BAD_SEGMENT, "end")


def test_cells_start_at_the_first(ready):
    """Also where there are more than a page."""
    seq = ready.open(CachePolicy.HEAVY, 8, 4, 4)
    for tokens in (4, 4, 4):
        ready.reserve(seq, tokens)
        ready.write([(seq, tokens)])
        if seq.length == 8:
            break
        for layer in range(LAYERS):
            hitter_layer(ready, seq, layer, tokens, True)
        ready.commit(seq, tokens)
    ready.memory.reset()
    job = job_of(ready, "cells")
    there = {"slot": seq.handle.slot, "generation": seq.handle.generation, "end": 12}
    assert refused(ready, job, segment=there).ok
    status = refused(ready, job, segment=there | {"first": 1})
    assert (status.code, SEGMENT_FIELDS[status.detail]) == (StatusCode.BAD_SEGMENT, "first")


def test_reserved_places_become_readable_head_by_head(ready):
    """Layer 0 is written, layer 1 is not; of heavy hitters no cell is readable before the step's are."""
    for head in range(LAYERS * KV_HEADS):
        status = refused(ready, job_of(ready, "plain", head=head))
        assert status.ok == (head < KV_HEADS)
        assert refused(ready, job_of(ready, "plain", head=head), segment={"end": 12}).ok
    seq = ready.open(CachePolicy.HEAVY, 8, 4, 4)
    ready.reserve(seq, 3)
    ready.write([(seq, 3)], layers=[0])
    ready.memory.reset()
    there = {"slot": seq.handle.slot, "generation": seq.handle.generation, "end": 3}
    for head in range(LAYERS * KV_HEADS):
        assert refused(ready, job_of(ready, "cells", head=head), segment=there).ok == (head < KV_HEADS)


def test_sums_grow_head_by_head(ready):
    """A head's sums take up a step once, in the order of heads; then its cells are the next step's."""
    end = SEGMENT_FIELDS.index("end")
    assert refused(ready, job_of(ready, "hitters", head=1)).detail == end
    assert refused(ready, job_of(ready, "hitters", head=0)).ok
    for kind in ("hitters", "cells"):
        assert refused(ready, job_of(ready, kind, head=0)).detail == end
    ready.memory.reset()
    attention = job_of(ready, "cells", head=1)
    ready.run(attention)
    ready.run(ScoreJob(attention))
    assert refused(ready, attention, {"opcode": 6, "hitters": 1}).detail == end
    assert ready.run(cache_command(OPS.COMMIT, ready.heavy.handle, count=2), StatusCode.REFUSED).detail == \
        CacheStatus.NOT_WRITTEN.value


def test_a_failed_job_breaks_the_sequences_whose_sums_it_touched(ready):
    good, bad = (job_of(ready, "hitters", head=head).requests[0] for head in (0, 0))
    job = CachedAttentionJob(ready.memory, [good, bad], heads=HEADS, cells=True, hitters=True)
    status = ready.run(job, StatusCode.BAD_SEGMENT)
    assert status.address == job.entries[1]["segments"]
    refusal = ready.run(cache_command(OPS.COMMIT, ready.heavy.handle, count=2), StatusCode.REFUSED)
    assert refusal.detail == CacheStatus.BROKEN.value
    ready.run(cache_command(OPS.CLOSE, ready.heavy.handle))


def test_a_page_behind_the_window_is_gone():
    machine = Machine(6)
    seq = machine.open(CachePolicy.WINDOW, 9)
    for _ in range(6):
        machine.step(seq, 4, window=9)
    machine.reserve(seq, 1)
    machine.write([(seq, 1)])
    request, = machine.requests(0, [SegmentOf(seq.handle, 25)], HEADS, 24)[:1]
    job = CachedAttentionJob(machine.memory, [request], heads=HEADS, window=9)
    machine.run(job)        # The segment begins in a hole, but the pages that are met are there.
    wide = CachedAttentionJob(machine.memory, [request], heads=HEADS, window=11)
    status = machine.run(wide, StatusCode.BAD_SEGMENT)
    assert (SEGMENT_FIELDS[status.detail], status.address) == ("first", wide.entries[0]["segments"])
