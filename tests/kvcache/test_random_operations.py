"""The golden key-value cache against a naive model, over 10,000 random operations."""

import pickle
import random
from collections import Counter

import numpy as np
import pytest
from olivine.kvcache.descriptor import CacheStatus
from olivine_golden.kv_cache import CacheError, KVCache
from olivine_golden.kv_sequence import Handle, Policy, heavy, window

from tests.kvcache.naive import Naive, NaiveSequence, naive_weight

S = CacheStatus

POLICIES = (Policy(), Policy(), window(6), window(1), heavy(5, 3, 4), heavy(2, 1, 9))


class Machine:
    """Draws operations, applies them to both and compares."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.cache = KVCache(blocks=20, lanes=4, sequences=6, max_length=60, heads=2)
        self.naive = Naive(self.cache)
        self.token = 1
        self.statuses = Counter()
        self.refusals = 0
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
            if rng.random() < 0.03:
                return "fault", (handle,)
            if seq.is_heavy and rng.random() < 0.9:
                return "commit", (handle, rng.choice([n, list(range(n))]))
            path = sorted(rng.sample(range(n), rng.randrange(n + 1)))
            return "commit", (handle, rng.choice([n, n, rng.randrange(n + 1), *[path] * 4, n + 1, [*path, n]]))
        if seq and rng.random() < 0.4 and (seq.broken or seq.swapped):
            return "close" if seq.broken else "swap_in", (handle,)
        op = rng.choices(["open", "append", "fork", "truncate", "commit", "close", "swap_out", "swap_in", "fault"],
                         [5, 60, 16, 10, 2, 6, 5, 2, 1])[0]
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
            return op, (handle, 100 * (handle.slot + 1), rng.choice([2, 10, 10, 10]))
        return op, (handle,)

    def expected(self, op, arguments):
        if op == "open":
            policy = arguments[0]
            cells = policy.heavy + policy.recent + policy.chunk
            if policy == window(0) or cells > self.naive.max_length:
                return S.BAD_COUNT
            return S.NO_SEQUENCE if len(self.naive.open_) == self.naive.slots else S.OK
        if op == "fault":
            status = self.naive.status(arguments[0])
            if status is S.OK:
                seq = self.naive.open_[arguments[0]]
                if not seq.pending:
                    return S.NOTHING_RESERVED
                seq.broken = seq.is_heavy
            return status
        return getattr(self.naive, op)(*arguments)

    def step(self):
        op, arguments = self.draw()
        cache, rng = self.cache, self.rng
        before, free = pickle.dumps(cache), list(cache.free)
        places = cache.contents.copy()
        answer = getattr(cache, op)(*arguments)
        expected = self.expected(op, arguments)
        assert answer.status is expected, (op, arguments)
        self.statuses[answer.status] += 1
        if answer.status is not S.OK:
            self.refusals += 1
            assert pickle.dumps(cache) == before, f"{op}{arguments} was refused and changed something"
            assert answer == type(answer)(answer.status)
            return
        cache.check()
        self.count(op, answer)
        assert len(cache.free) == self.naive.free()
        assert list(answer.granted) == free[:len(answer.granted)]
        assert list(cache.free) == free[len(answer.granted):] + list(answer.released)
        self.replay(op, answer, places)
        if op == "open":
            self.naive.open_[answer.handle] = NaiveSequence(arguments[0], self.naive.heads)
        elif op == "fork":
            self.naive.forked(arguments[0], answer.handle)
        elif op == "append" and rng.random() < 0.9:
            self.fill(arguments[0])
        if op not in ("open", "close"):
            self.compare(arguments[0])

    def count(self, op, answer):
        self.events.update({"copies on write": len(answer.copies) if op == "append" else 0,
                            "blocks swapped": len(answer.copies) if op.startswith("swap") else 0,
                            "places moved": len(answer.moves), "cells evicted": sum(map(len, answer.dropped)),
                            "blocks granted": len(answer.granted)})

    def replay(self, op, answer, places):
        """Copies and moves of the answer, done in order, give the contents."""
        for source, target in answer.copies if op == "append" else ():
            places[target] = places[source]
        flat = places.reshape(-1, self.naive.heads)
        for source, target in answer.moves:
            assert source != target
            flat[target] = flat[source]
        if op not in ("append", "swap_in"):
            assert np.array_equal(places, self.cache.contents)
        for _, target in answer.copies if op == "append" else ():
            written = self.cache.written[target]
            assert np.array_equal(places[target][written], self.cache.contents[target][written])

    def fill(self, handle):
        """Write the step's tokens, forgetting one at times; let a heavy-hitter's queries attend."""
        seq, rng = self.naive.open_[handle], self.rng
        for offset in range(len(seq.pending)):
            if rng.random() < 0.98:
                seq.pending[offset] = (self.token, self.token + 1)
                self.cache.write(handle, offset, seq.pending[offset])
                self.token += 2
        length, tokens = len(seq.tokens), len(seq.pending)
        for head, hitter in enumerate(self.cache.lookup(handle)[1].hitters):
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

    def compare(self, handle):
        """Everything that the sequence wrote reads back, and nothing else does."""
        seq, cache = self.naive.open_[handle], self.cache
        status, found = cache.lookup(handle)
        assert status is seq.status()
        if seq.swapped:
            self.compare_host(seq, found)
        if status is not S.OK:
            return
        assert (found.length, found.reserved) == (len(seq.tokens), len(seq.pending))
        for head in range(cache.heads):
            for position in range(found.length + found.reserved):
                value = self.naive.value(seq, position, head)
                if value is None:
                    with pytest.raises(CacheError, match="never wrote|was evicted"):
                        cache.read(handle, position, head)
                else:
                    assert cache.read(handle, position, head) == value
            if seq.is_heavy:
                hitter = found.hitters[head]
                assert {int(p): int(s) for p, s in zip(hitter.positions, hitter.sums) if p >= 0} == seq.sums[head]

    def compare_host(self, seq, found):
        """Host memory holds the sequence's places and zeros."""
        image = np.concatenate([self.cache.host[place] for place in found.stored] or
                               [np.zeros((0, self.cache.heads), np.int64)])
        first = seq.lost
        expected = np.zeros_like(image)
        for head in range(self.cache.heads):
            for position in range(len(seq.tokens)):
                if (value := self.naive.value(seq, position, head)) is not None:
                    cell = found.hitters[head].cell(position) if seq.is_heavy else position - first
                    expected[cell, head] = value
        assert np.array_equal(image, expected)


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
    assert min(machine.statuses.values()) >= 20 and min(machine.events.values()) >= 100
