"""The golden accelerator with its cache: whole steps against a naive float model."""

from dataclasses import replace

import numpy as np
import pytest
from olivine.attention.descriptor import ENTRY_BYTES, AttentionDescriptor, CachedGroup, OutputFormat
from olivine.control.job import StatusCode
from olivine.kvcache.descriptor import CachePolicy, CacheStatus
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.attention import LSE_EMPTY, merge
from olivine_golden.cache_image import fields_of, read_fields, read_page
from olivine_host.cache_jobs import CachedAttentionJob, ScoreJob, SegmentOf, cache_command

from tests.kvcache.cache_machine import (
    CONFIG,
    HEADS,
    INT8,
    KV_HEADS,
    LAYERS,
    OPS,
    OVP,
    D,
    Machine,
    hitter_layer,
    judge_victims,
)

FORMATS = pytest.mark.parametrize("key_format, value_format", [(INT8, INT8), (OVP, INT8),
                                                              (INT8, LaneFormat.OVP4_FLINT)])


@FORMATS
def test_steps_forks_trees_windows_and_swaps(key_format, value_format):
    """A conversation: a prompt in chunks, three branches from it, one step of all in one job with the prompt as a
    shared segment, a token tree, a window, and a swap; every result against float."""
    machine = Machine(1, key_format=key_format, value_format=value_format)
    root = machine.open()
    for tokens in (4, 3, 4, 2):
        machine.step(root, tokens)
    branches = [root] + [root.fork(machine.run(cache_command(OPS.FORK, root.handle)).handle) for _ in range(2)]
    # The last block, partly filled, is shared: it is copied.
    for tokens in (1, 2, 1, 3, 1):
        for branch in branches:
            machine.step(branch, tokens)
    joint_step(machine, branches)
    tree_step(machine, branches[1])
    machine.step(branches[1], 2)
    swap(machine, branches[1])
    machine.step(branches[1], 2)
    machine.run(cache_command(OPS.CLOSE, branches[2].handle))
    sliding = machine.open(CachePolicy.WINDOW, 13)
    for _ in range(14):
        machine.step(sliding, int(machine.rng.integers(1, 5)), window=13)
    entry, = [seq for seq in machine.system.cache.slots if seq and seq.policy.kind is CachePolicy.WINDOW]
    assert entry.holes
    machine.run(cache_command(OPS.TRUNCATE, branches[0].handle, count=9))
    branches[0].cut(9)
    machine.step(branches[0], 2)
    print(f"relative error at most {machine.worst:.5f}")


def joint_step(machine, branches):
    """One token of every branch: the prefix that they share is a segment of all rows, the rest of its own rows."""
    for branch in branches:
        machine.reserve(branch, 1)
    machine.write([(branch, 1) for branch in branches])
    shared = 8
    for layer in range(LAYERS):
        parts = [SegmentOf(branches[0].handle, shared, 0, (1 << HEADS * len(branches)) - 1)]
        parts += [SegmentOf(branch.handle, branch.length + 1, shared // CONFIG.lanes,
                            (1 << HEADS) - 1 << HEADS * number) for number, branch in enumerate(branches)]
        requests = machine.requests(layer, parts, HEADS * len(branches), branches[0].length)
        job = CachedAttentionJob(machine.memory, requests, heads=HEADS, causal=False)
        machine.run(job)
        for request, output in zip(requests, job.unpack(machine.image[job.output[0]:][:job.output[1]])):
            for number, branch in enumerate(branches):
                rows = slice(HEADS * number, HEADS * (number + 1))
                machine.check(replace(request, q=request.q[rows]), output.y[rows], *branch.contents(request.head), True)
        machine.memory.reset()
    for branch in branches:
        machine.commit(branch, 1)


def tree_step(machine, seq):
    """Nodes 0 - 1 - 3 - 6 and others; the path is kept."""
    parents = [-1, 0, 0, 1, 2, 2, 3]
    masks = []
    for node, parent in enumerate(parents):
        masks.append(1 << node | (masks[parent] if parent >= 0 else 0))
    nodes = len(parents)
    machine.reserve(seq, nodes)
    machine.write([(seq, nodes)])
    for layer in range(LAYERS):
        requests = machine.requests(layer, [SegmentOf(seq.handle, seq.length + nodes)], nodes * HEADS, seq.length,
                                    [mask for mask in masks for _ in range(HEADS)])
        job = CachedAttentionJob(machine.memory, requests, heads=HEADS, tree=True)
        machine.run(job)
        seen = np.array([[key < seq.length or mask >> key - seq.length & 1 for key in range(seq.length + nodes)]
                         for mask in masks for _ in range(HEADS)], bool)
        for request, output in zip(requests, job.unpack(machine.image[job.output[0]:][:job.output[1]])):
            machine.check(request, output.y, *seq.contents(request.head), seen)
        machine.memory.reset()
    machine.commit(seq, path=[0, 1, 3, 6])


def swap(machine, seq):
    memory = machine.memory
    machine.run(cache_command(OPS.SWAP_OUT, seq.handle, count=16, host=memory.host[0]))
    refused = machine.reserve(seq, 1, StatusCode.REFUSED)
    assert refused.detail == CacheStatus.SWAPPED.value
    machine.run(cache_command(OPS.SWAP_IN, seq.handle))


@pytest.mark.parametrize("key_format, value_format, scored", [(INT8, INT8, False), (INT8, INT8, True),
                                                              (OVP, LaneFormat.OVP4_FLINT, False)])
def test_heavy_hitters(key_format, value_format, scored):
    """A prompt and 30 steps with evictions. The keys that are dropped are those with the smallest float sums, but for
    candidates whose sums differ by less than the arithmetic's rounding; results are float attention over what is
    kept."""
    machine = Machine(2, key_format=key_format, value_format=value_format)
    heavy, recent = 10, 6
    seq = machine.open(CachePolicy.HEAVY, heavy, recent, 4)
    dropped = 0
    for tokens in [4, 4, 3] + [1, 1, 2 if scored else 1] * 9:
        machine.reserve(seq, tokens)
        machine.write([(seq, tokens)])
        for layer in range(LAYERS):
            hitter_layer(machine, seq, layer, tokens, scored or tokens * HEADS > CONFIG.rows)
            machine.memory.reset()
        machine.commit(seq, tokens)
        for head in range(LAYERS * KV_HEADS):
            dropped += judge_victims(machine, seq, head, heavy, recent)
    assert dropped == LAYERS * KV_HEADS * (seq.length - heavy - recent)
    print(f"relative error at most {machine.worst:.5f}")


@pytest.mark.parametrize("seed", range(2))
def test_random_sequences(seed):
    """Sequences of all policies come and go in a small pool: every result is float attention over what the sequence
    itself wrote, whoever held its blocks before."""
    machine, rng = Machine(20 + seed), np.random.default_rng(seed)
    policies = [(CachePolicy.NONE,), (CachePolicy.WINDOW, 11), (CachePolicy.HEAVY, 5, 4, 4)]
    live, counts = [], dict.fromkeys(("steps", "dropped steps", "forks", "truncations", "swaps", "full"), 0)
    for turn in range(90):
        if len(live) < 2 or len(live) < 4 and rng.random() < 0.2:
            live.append(machine.open(*policies[int(rng.integers(3))]))
        seq = live[int(rng.integers(len(live)))]
        heavy, kind = seq.policy is CachePolicy.HEAVY, rng.random()
        if kind < 0.7:
            tokens = int(rng.integers(1, 5))
            status = machine.system.run(cache_command(OPS.APPEND, seq.handle, count=tokens))
            if not status.ok:
                assert status.detail == CacheStatus.NO_BLOCK.value
                counts["full"] += 1
                live.remove(seq)
                machine.run(cache_command(OPS.CLOSE, seq.handle))
                continue
            if not heavy and rng.random() < 0.2:
                machine.commit(seq, 0)
                counts["dropped steps"] += 1
                continue
            machine.write([(seq, tokens)])
            if heavy:
                for layer in range(LAYERS):
                    hitter_layer(machine, seq, layer, tokens, tokens > 1 or turn % 2 == 0)
            else:
                machine.attend(seq, tokens, seq.size)
            path = None if heavy or turn % 2 else sorted(
                rng.choice(tokens, int(rng.integers(1, tokens + 1)), False).tolist())
            machine.commit(seq, tokens, path)
            if heavy:
                for head in range(LAYERS * KV_HEADS):
                    judge_victims(machine, seq, head, seq.size, seq.recent)
            counts["steps"] += 1
        elif kind < 0.8 and not heavy and len(live) < CONFIG.sequences - 1:
            live.append(seq.fork(machine.run(cache_command(OPS.FORK, seq.handle)).handle))
            counts["forks"] += 1
        elif kind < 0.87 and not heavy:
            length = int(rng.integers(max(seq.length - 6, 0), seq.length + 1))
            status = machine.system.run(cache_command(OPS.TRUNCATE, seq.handle, count=length))
            assert status.ok or status.detail == CacheStatus.CROSSES_EVICTION.value and seq.size
            if status.ok:
                seq.cut(length)
                counts["truncations"] += 1
        elif kind < 0.94:
            machine.run(cache_command(OPS.SWAP_OUT, seq.handle, count=16, host=machine.memory.host[0]))
            # What is left in the blocks must not matter.
            other = machine.open()
            machine.step(other, 4)
            machine.run(cache_command(OPS.CLOSE, other.handle))
            machine.run(cache_command(OPS.SWAP_IN, seq.handle))
            counts["swaps"] += 1
        elif len(live) > 2:
            live.remove(seq)
            machine.run(cache_command(OPS.CLOSE, seq.handle))
        machine.memory.reset()
    print(counts, f"relative error at most {machine.worst:.5f}")
    assert all(number for name, number in counts.items() if name != "full"), counts


def test_partial_results_merge():
    """Prefix and rest as two jobs with partial results, merged, are the whole; queries of 8 bits."""
    machine = Machine(3)
    seq = machine.open()
    for tokens in (4, 4, 4, 4, 3):
        machine.step(seq, tokens)
    whole = machine.requests(0, [SegmentOf(seq.handle, seq.length)], HEADS, seq.length - 1)
    whole = [replace(request, q=request.q // 16, score_shift=21) for request in whole]
    cut = [[SegmentOf(seq.handle, 8)], [SegmentOf(seq.handle, seq.length, 1)]]
    results = []
    for parts in ([SegmentOf(seq.handle, seq.length)], *cut):
        job = CachedAttentionJob(machine.memory, [replace(request, segments=parts) for request in whole], heads=HEADS,
                                 q_format=RowFormat.INT8, o_format=OutputFormat.PARTIAL)
        machine.run(job)
        results.append([output.partial for output in job.unpack(machine.image[job.output[0]:][:job.output[1]])])
    for one, first, second in zip(*results):
        joined = merge([first, second])
        assert np.array_equal(one.m, joined.m) and np.abs(one.l / joined.l - 1).max() < 0.01
        assert np.abs(one.o / joined.l[:, None] - joined.o / joined.l[:, None]).max() < 2


def test_a_score_job_adds_nothing_for_rows_without_keys():
    """Rows that the segment's mask leaves out: zeros, an empty log-sum-exp, and no weight."""
    machine = Machine(4)
    seq = machine.open(CachePolicy.HEAVY, 4, 4, 4)
    machine.reserve(seq, 2)
    machine.write([(seq, 2)])
    requests = machine.requests(0, [SegmentOf(seq.handle, 2, rows=0b1100)], 2 * HEADS, 0)
    job = CachedAttentionJob(machine.memory, requests, heads=HEADS, cells=True, lse=True)
    machine.run(job)
    machine.run(ScoreJob(job))
    for head, output in enumerate(job.unpack(machine.image[job.output[0]:][:job.output[1]])):
        assert (output.lse[:2] == LSE_EMPTY).all() and not output.y[:2].any() and (output.lse[2:] > LSE_EMPTY).all()
        sums = np.frombuffer(machine.image, "<u4", 2, machine.memory.record(seq.handle.slot, head)) / 2 ** 20
        assert abs(sums.sum() - 2) < 0.05


def test_images_read_back():
    """`read_page` against addresses worked out one by one, and descriptors as their builders meant them."""
    for key_format, value_format in ((INT8, INT8), (OVP, INT8), (INT8, OVP), (OVP, LaneFormat.OVP4_FLINT)):
        machine = Machine(7, key_format=key_format, value_format=value_format)
        page = machine.memory.page(3, 2)
        machine.image[page:page + machine.memory.geometry["page_bytes"]] = machine.rng.bytes(
            machine.memory.geometry["page_bytes"])
        k, v = read_page(machine.image, page, 7, lanes=8, bus_bytes=4, head_dim=D, key_format=key_format,
                         value_format=value_format)
        for lane in range(7):
            codes = [machine.image[address] for address in machine.cells(page, lane)]
            both = []
            for array, fmt in ((k[lane], key_format), (v[lane], value_format)):
                both += array.tolist() if fmt is INT8 else (array[0::2] << 4 | array[1::2]).tolist()
            assert codes == both
    job = job_of_shape(machine)
    fields = fields_of(AttentionDescriptor, job.descriptor)
    assert (fields["cached"], fields["groups"], fields["table"], fields["head_dim"]) == (1, 2, job.table, D)
    for index in range(2):
        entry = read_fields(CachedGroup, machine.image, job.table + index * ENTRY_BYTES)
        assert entry["position"] == -3 and entry["head"] == index and entry["count"] == 1


def job_of_shape(machine):
    requests = machine.requests(0, [SegmentOf((0, 0), 1)], 3, -3)
    job = CachedAttentionJob(machine.memory, requests, heads=1)
    for address, content in job.regions:
        machine.image[address:address + len(content)] = content
    return job
