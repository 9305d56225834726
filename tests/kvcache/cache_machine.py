"""A golden accelerator with its cache, and beside it what its sequences hold: lists of tokens, in float."""

from dataclasses import replace

import numpy as np
from olivine.config import PRESETS
from olivine.control.job import StatusCode
from olivine.kvcache.descriptor import FREE_CELL, CacheOp, CachePolicy
from olivine.olive.formats import LaneFormat
from olivine_golden.append import requantize
from olivine_golden.cache_system import CacheSystem
from olivine_golden.ovp import decode_pairs
from olivine_host.cache_jobs import AppendJob, CachedAttentionJob, Request, ScoreJob, SegmentOf, cache_command
from olivine_host.cache_memory import CacheMemory

CONFIG = replace(PRESETS["tiny"], sequences=6, blocks=40, cells=32)
LAYERS, KV_HEADS, HEADS, D = 2, 2, 2, 16
INT8, OVP = LaneFormat.INT8, LaneFormat.OVP4_INT
SCALES = [(40_000, 19, 50_000, 20), (65_535, 20, 30_001, 19)]
"""Of each KV head; sources have deviation 300."""

OPS = CacheOp


class Machine:
    """A system, what it did, and the sequences as lists of tokens: naive, by position, in float."""

    def __init__(self, seed, config=CONFIG, **options):
        self.rng = np.random.default_rng(seed)
        self.memory = CacheMemory(config, heads=LAYERS * KV_HEADS, head_dim=D, host_blocks=16, **options)
        self.image = self.memory.image()
        self.system = CacheSystem(config, self.memory.geometry, self.image)
        self.worst = 0.0

    def run(self, job, code=StatusCode.OK):
        """A job, or an operation."""
        for address, content in getattr(job, "regions", ()):
            self.image[address:address + len(content)] = content
        status = self.system.run(getattr(job, "descriptor", job))
        self.system.cache.check()
        assert status.code is code, (status.code, status.detail, hex(status.address))
        return status

    def open(self, policy=CachePolicy.NONE, size=0, recent=0, chunk=0):
        command = cache_command(OPS.OPEN, policy=policy, size=size, recent=recent, chunk=chunk)
        return Tokens(self.run(command).handle, policy, size, recent)

    def reserve(self, seq, tokens, code=StatusCode.OK):
        return self.run(cache_command(OPS.APPEND, seq.handle, count=tokens), code)

    def write(self, steps, layers=range(LAYERS)):
        """Append jobs of random rows for (sequence, tokens)."""
        rows = sum(tokens for _, tokens in steps)
        for layer in layers:
            keys, values = self.rng.normal(size=(2, rows, KV_HEADS * D)).clip(-3, 3) * 300
            keys, values = (np.rint(array).astype(int) for array in (keys, values))
            self.run(AppendJob(self.memory, [(seq.handle, tokens) for seq, tokens in steps], keys, values, SCALES,
                               first_head=layer * KV_HEADS))
            for head, (key_mult, key_shift, value_mult, value_shift) in enumerate(SCALES):
                channels, first = slice(head * D, head * D + D), 0
                for seq, tokens in steps:
                    part = slice(first, first + tokens)
                    seq.add(layer * KV_HEADS + head,
                            self.stored(keys[part, channels], key_mult, key_shift, self.memory.key_format),
                            self.stored(values[part, channels], value_mult, value_shift, self.memory.value_format))
                    first += tokens

    @staticmethod
    def stored(x, mult, shift, fmt):
        if fmt is INT8:
            return np.clip(np.floor(x * mult / 2.0 ** shift + 0.5), -128, 127)
        first, second, _ = decode_pairs(requantize(x, mult, shift, fmt)[0], fmt)
        return np.stack([first, second], axis=2).reshape(len(x), -1).astype(float)

    def requests(self, layer, parts, rows, position, tree=None):
        """One request for each KV head of a layer; ``parts``: segments."""
        return [Request(self.rng.integers(-2000, 2000, (rows, D)), layer * KV_HEADS + head, parts, position,
                        score_mult=40_000, score_shift=25 if self.memory.key_format is INT8 else 21, tree=tree)
                for head in range(KV_HEADS)]

    def scores(self, request, k):
        return request.q @ k.T * request.score_mult / 2.0 ** request.score_shift / 256

    def check(self, request, found, k, v, seen):
        """Weighted values, in units of 1/128, of an int16 result."""
        s = np.where(seen, self.scores(request, k), -np.inf)
        p = np.exp2(s - s.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        error = np.linalg.norm(found / 128 - p @ v) / np.linalg.norm(p @ v)
        self.worst = max(self.worst, error)
        assert error < 0.005, error
        return p

    def attend(self, seq, tokens, window=0):
        """A causal attention job of each layer over the newest tokens of a sequence."""
        for layer in range(LAYERS):
            first = max(seq.length - window + 1, 0) // CONFIG.lanes if window else 0
            requests = self.requests(layer, [SegmentOf(seq.handle, seq.length + tokens, first)], tokens * HEADS,
                                     seq.length)
            job = CachedAttentionJob(self.memory, requests, heads=HEADS, window=window)
            self.run(job)
            own = seq.length + np.arange(tokens * HEADS)[:, None] // HEADS
            at = np.arange(seq.length + tokens)
            for request, output in zip(requests, job.unpack(self.image[job.output[0]:][:job.output[1]])):
                self.check(request, output.y, *seq.contents(request.head),
                           (at <= own) & ((at > own - window) | (window == 0)))
            self.memory.reset()

    def commit(self, seq, count=0, path=None):
        self.run(cache_command(OPS.COMMIT, seq.handle, count=count, path=path))
        seq.keep(range(count) if path is None else path)

    def step(self, seq, tokens, window=0):
        self.reserve(seq, tokens)
        self.write([(seq, tokens)])
        self.attend(seq, tokens, window)
        self.commit(seq, tokens)

    def cells(self, page, lane):
        """Addresses of the bytes of one place."""
        bus, lanes = CONFIG.bus_bytes, CONFIG.lanes
        key, value = D * self.memory.key_format.bits // 8, D * self.memory.value_format.bits // 8
        yield from (page + (lane // bus * key + index) * bus + lane % bus for index in range(key))
        page += lanes * key
        size = lanes * self.memory.value_format.bits // 8
        for part in range(0, value, size):
            yield from (page + part * lanes + lane * size + index for index in range(min(size, value - part)))


class Tokens:
    """A sequence as the naive model knows it: keys and values of every token, per head."""

    def __init__(self, handle, policy, size=0, recent=0):
        self.handle, self.policy, self.size, self.recent = handle, policy, size, recent
        self.length = 0
        self.k, self.v = ([np.zeros((0, D)) for _ in range(LAYERS * KV_HEADS)] for _ in range(2))
        self.kept = [[] for _ in range(LAYERS * KV_HEADS)]
        self.sums = [{} for _ in range(LAYERS * KV_HEADS)]

    def add(self, head, k, v):
        self.k[head], self.v[head] = np.concatenate([self.k[head], k]), np.concatenate([self.v[head], v])

    def contents(self, head):
        return self.k[head], self.v[head]

    def keep(self, offsets):
        rows = [*range(self.length), *(self.length + offset for offset in offsets)]
        self.k, self.v = ([array[rows] for array in arrays] for arrays in (self.k, self.v))
        self.length = len(rows)

    def cut(self, length):
        self.k, self.v = ([array[:length] for array in arrays] for arrays in (self.k, self.v))
        self.length = length

    def fork(self, handle):
        other = Tokens(handle, self.policy, self.size, self.recent)
        other.k, other.v, other.length = list(self.k), list(self.v), self.length
        return other


def hitter_layer(machine, seq, layer, tokens, scored):
    state = machine.system.cache.slots[seq.handle.slot]
    requests = machine.requests(layer, [SegmentOf(seq.handle, state.filled)], tokens * HEADS, seq.length)
    job = CachedAttentionJob(machine.memory, requests, heads=HEADS, cells=True, lse=scored, hitters=not scored)
    machine.run(job)
    if scored:
        machine.run(ScoreJob(job))
    for request, output in zip(requests, job.unpack(machine.image[job.output[0]:][:job.output[1]])):
        head = request.head
        seq.kept[head] += range(seq.length, seq.length + tokens)
        kept = seq.kept[head]
        own = seq.length + np.arange(tokens * HEADS)[:, None] // HEADS
        k, v = (array[kept] for array in seq.contents(head))
        p = machine.check(request, output.y, k, v, np.array(kept) <= own)
        for position, mass in zip(kept, p.sum(axis=0)):
            seq.sums[head][position] = seq.sums[head].get(position, 0) + mass


def judge_victims(machine, seq, head, heavy, recent):
    """The record holds the naive sums within rounding, and the kept keys are the right ones; returns how many went."""
    slot = seq.handle.slot
    filled = machine.system.cache.slots[slot].filled
    at, cells = machine.memory.record(slot, head), 1 << machine.memory.geometry["log_cells"]
    sums = np.frombuffer(machine.image, "<u4", filled, at) / 2.0 ** 20
    positions = np.frombuffer(machine.image, "<u2", filled, at + 4 * cells)
    free = np.flatnonzero(positions == FREE_CELL)
    assert np.frombuffer(machine.image, "<u2", len(free), at + 6 * cells).tolist() == free.tolist()
    assert not sums[free].any()
    found = {int(position): float(total) for position, total in zip(positions, sums) if position != FREE_CELL}
    assert set(found) <= set(seq.kept[head])
    gone = set(seq.kept[head]) - set(found)
    assert len(found) == min(seq.length, heavy + recent)
    naive = seq.sums[head]
    # Scores and log-sum-exp are rounded: 0.012 + 1/512 octaves, about 1 %.
    for position, total in found.items():
        assert abs(total - naive[position]) <= 0.01 * naive[position] + 1e-4
    older = [position for position in found if position < seq.length - recent]
    assert all(position < seq.length - recent for position in gone)
    if gone and older:
        assert max(naive[position] for position in gone) <= min(naive[p] for p in older) * 1.02 + 2e-4
    for position in gone:
        seq.kept[head].remove(position)
    return len(gone)
