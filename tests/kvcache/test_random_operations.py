"""The golden key-value cache against a naive model, over 10,000 random operations, with contents and failing moves."""

import copy
import random
from collections import Counter

import numpy as np
from olivine.kvcache.descriptor import BLOCK_UNIT, CacheStatus
from olivine_golden.heavy_hitter import HeavyHitter
from olivine_golden.kv_cache import KVCache
from olivine_golden.kv_sequence import Handle, Policy, heavy, window

from tb.kvcache.controller_contents import POISON, Contents
from tests.kvcache.naive import Naive, NaiveSequence, naive_weight

S = CacheStatus

POLICIES = (Policy(), Policy(), window(6), window(1), heavy(5, 3, 4), heavy(2, 1, 9))


class Machine:
    """Draws operations and events, applies them to both and compares.

    The golden cache has no contents: `Contents` keeps them, by the golden's moves alone. Blocks that are granted hold
    poison.
    """

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.cache = KVCache(blocks=20, lanes=4, sequences=6, max_length=60, heads=2, base=1 << 32)
        self.contents = Contents(self.cache)
        self.naive = Naive(self.cache)
        self.hitters = {}
        self.token = 1
        self.statuses = Counter()
        self.refusals = 0
        self.repeated = 0       # steps to be written again
        self.events = Counter()

    def handle(self):
        kind, live = self.rng.random(), list(self.naive.open_)
        if kind < 0.04 and self.naive.closed:
            return self.rng.choice(sorted(self.naive.closed)[-20:])
        if kind < 0.05 or not live:
            slot = self.rng.randrange(-1, 8)
            return Handle(slot, sum(other == slot for other, _ in self.naive.closed) + self.rng.choice([0, 0, 1]))
        return Handle(*self.rng.choice(live))

    def draw(self):
        """(operation, arguments): likely ones mostly, a wrong one at times."""
        rng, handle = self.rng, self.handle()
        seq = self.naive.open_.get(handle)
        if seq and seq.pending and rng.random() < 0.8:
            n = len(seq.pending)
            if seq.is_heavy and rng.random() < 0.9:
                return "commit", (handle, rng.choice([n, list(range(n))]))
            path = sorted(rng.sample(range(n), rng.randrange(n + 1)))
            return "commit", (handle, rng.choice([n, n, rng.randrange(n + 1), *[path] * 4, n + 1, [*path, n]]))
        if seq and rng.random() < 0.4 and (seq.broken or seq.swapped):
            return "close" if seq.broken else "swap_in", (handle,)
        op = rng.choices(["open", "append", "fork", "truncate", "commit", "close", "swap_out", "swap_in"],
                         [5, 60, 16, 10, 2, 6, 5, 2])[0]
        if op == "open":
            return op, (rng.choice([*POLICIES, *POLICIES, window(0), heavy(50, 9, 4)]),)
        if op == "append":
            likely = [rng.randrange(2), 1, 1, 2, 3, 4, rng.randrange(1, 12)]
            return op, (handle, rng.choice([*likely, rng.randrange(1, 30)]))
        if op == "truncate":
            length = len(seq.tokens) if seq else 3
            return op, (handle, length - rng.choice([-1, 0, 1, 2, 4, length, rng.randrange(length + 1)]))
        if op == "commit":
            return op, (handle, rng.randrange(3))
        if op == "swap_out":
            return op, (handle, (handle.slot + 1 << 16) * BLOCK_UNIT + rng.choice([0] * 9 + [8]),
                        rng.choice([2, 10, 10, 10]))
        return op, (handle,)

    def expected(self, op, arguments, fails):
        if op == "open":
            policy = arguments[0]
            cells = policy.heavy + policy.recent + policy.chunk
            if policy == window(0) or cells > self.naive.max_length:
                return S.BAD_COUNT
            return S.NO_SEQUENCE if len(self.naive.open_) == self.naive.slots else S.OK
        # Whether it comes to a move that fails is what the contents saw.
        return getattr(self.naive, op)(*arguments, *([True] if fails else []))

    def state(self):
        cache = self.cache
        return copy.deepcopy((cache.slots, cache.generations, cache.counts, sorted(cache.free)))

    def step(self):
        op, arguments = self.draw()
        cache, contents, rng = self.cache, self.contents, self.rng
        for handle, seq in self.naive.open_.items():
            if seq.pending and seq.status() is S.OK and rng.random() < 0.2:
                self.work(handle)
        before, free = self.state(), list(cache.free)
        contents.begin(rng.randrange(4) if rng.random() < (0.4 if op == "commit" else 0.08) else None)
        answer = getattr(cache, op)(*arguments)
        fails = contents.fail_at is not None and len(contents.moves) > contents.fail_at
        expected = self.expected(op, arguments, fails)
        assert answer.status is expected, (op, arguments)
        self.statuses[answer.status] += 1
        cache.check()
        assert list(answer.granted) == free[:len(answer.granted)]
        assert list(cache.free) == free[len(answer.granted):] + list(answer.released)
        if answer.status is not S.OK:
            self.refusals += 1
            if op == "commit" and answer.status is S.FAULT:
                self.repeated += 1
                step = before[0][arguments[0].slot]
                step.appended = step.summed = 0
                self.compare(arguments[0])
            assert self.state() == before, f"{op}{arguments} was refused and changed something else"
            assert answer.status is S.FAULT or answer == type(answer)(answer.status) and list(cache.free) == free
            return
        assert [*answer.copies, *answer.moves] == contents.moves
        self.count(op, answer)
        assert len(cache.free) == self.naive.free()
        if op == "open":
            self.naive.open_[answer.handle] = NaiveSequence(arguments[0], self.naive.heads)
            if self.naive.open_[answer.handle].is_heavy:
                sizes = arguments[0].heavy, arguments[0].recent
                self.hitters[answer.handle] = [HeavyHitter(sum(arguments[0].sizes), *sizes) for _ in range(2)]
        elif op == "fork":
            self.naive.forked(arguments[0], answer.handle)
        elif op == "append":
            for hitter in self.hitters.get(arguments[0], ()):
                hitter.fill(arguments[1])
            self.work(arguments[0])
        elif op == "truncate":
            for hitter in self.hitters.get(arguments[0], ()):
                if arguments[1] < hitter.length:
                    hitter.truncate(arguments[1])
        elif op == "swap_out":
            self.compare_host(arguments[0], answer)
        if op not in ("open", "close"):
            self.compare(arguments[0])

    def count(self, op, answer):
        self.events.update({"copies on write": len(answer.copies) if op == "append" else 0,
                            "blocks swapped": len(answer.copies) if op.startswith("swap") else 0,
                            "places moved": len(answer.moves), "blocks granted": len(answer.granted)})

    def work(self, handle):
        """Write the step's tokens head by head, stopping short at times; let a heavy-hitter's queries attend. Goes on
        where it stopped."""
        seq, rng = self.naive.open_[handle], self.rng
        for head in range(seq.appended, rng.choice([2] * 12 + [0, 1])):
            for offset, values in enumerate(seq.pending):
                values[head] = self.token
                cell, self.token = self.cell(handle, head, len(seq.tokens) + offset), self.token + 1
                block = self.cache.lookup(handle)[1].table[cell // 4]
                self.contents.place(block, cell % 4)[head] = values[head]
            self.cache.appended(handle.slot)
            seq.appended += 1
        if not seq.is_heavy or seq.appended < 2:
            return
        self.cache.touched(handle.slot)
        for head in range(seq.summed, rng.choice([2] * 12 + [0, 1])):
            self.attend(seq, head, self.hitters[handle][head])
            self.cache.summed(handle.slot)
            seq.summed += 1
        failed = rng.random() < 0.02
        seq.broken |= failed
        self.cache.ended(failed)

    def cell(self, handle, head, position):
        return self.hitters[handle][head].cell(position) if handle in self.hitters else position

    def attend(self, seq, head, hitter):
        rng, length, tokens = self.rng, len(seq.tokens), len(seq.pending)
        visible = hitter.seen(tokens, 2)
        scores, lse = np.zeros(visible.shape, np.int64), np.zeros(2 * tokens, np.int64)
        for row in range(2 * tokens):
            lse[row] = rng.randrange(-2000, 2000)
            for position in seq.sums[head]:
                score = int(lse[row]) - rng.choice([rng.randrange(-5, 10), rng.randrange(6000), 64])
                scores[row, hitter.cell(position)] = score
                if position <= length + row // 2:
                    added = naive_weight(max(int(lse[row]) - score, 0))
                    seq.sums[head][position] = min(seq.sums[head][position] + added, 2 ** 32 - 1)
        hitter.attend_add(scores, lse, visible)
        self.events["cells evicted"] += len(hitter.drop(hitter.excess))
        self.naive.drop(seq, head)

    def compare(self, handle):
        """Everything that the sequence wrote is in its blocks, and nothing of others in any place that may be read."""
        seq, cache = self.naive.open_[handle], self.cache
        status, found = cache.lookup(handle)
        assert status is seq.status()
        assert (found.length, found.reserved, found.appended, found.summed) == (
            len(seq.tokens), len(seq.pending), seq.appended, seq.summed)
        assert [block is None for block in found.table] == [block is None for block in seq.blocks]
        if status is not S.OK:
            return
        for head in range(cache.heads):
            for position in range(found.length + found.reserved):
                cell = self.cell(handle, head, position)
                in_step = position >= found.length
                if cell is None or position < seq.lost or in_step and found.appended <= head:
                    continue
                value = self.contents.place(found.table[cell // 4], cell % 4)[head]
                expected = self.naive.value(seq, position, head)
                assert value != POISON and (expected is None or value == expected)
            if seq.is_heavy:
                hitter = self.hitters[handle][head]
                assert {int(p): int(s) for p, s in zip(hitter.positions, hitter.sums) if p >= 0} == seq.sums[head]
                assert np.flatnonzero(hitter.positions >= 0).max(initial=-1) < found.filled, "cells within those filled"

    def compare_host(self, handle, answer):
        """Host memory holds the sequence's places and zeros, nothing of others."""
        seq, found = self.naive.open_[handle], self.cache.lookup(handle)[1]
        for number, move in enumerate(answer.copies):
            for place, values in enumerate(self.contents.memory[move.target]):
                cell = (found.holes + number) * 4 + place
                assert POISON not in values
                if not seq.is_heavy:
                    assert cell < len(seq.tokens) or values == [0, 0]


def test_random_operations():
    machine = Machine(seed=20)
    for count in range(10_000):
        machine.step()
        if count % 20 == 0:
            for handle in machine.naive.open_:
                machine.compare(handle)
    found = ", ".join(f"{status.name} {count}" for status, count in machine.statuses.most_common())
    print(f"10,000 operations, {machine.refusals} refused: {found}")
    print(", ".join(f"{count} {event}" for event, count in machine.events.items()))
    assert set(machine.statuses) == set(CacheStatus), "every status is reached"
    assert min(machine.statuses.values()) >= 20 and min(machine.events.values()) >= 100 and machine.repeated >= 20
