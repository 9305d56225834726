"""The golden key-value cache: each operation by example, and 10,000 random ones against a naive model."""

import pickle
import random
from collections import Counter

import numpy as np
import pytest
from olivine.kvcache.descriptor import GENERATION_BITS, CacheOp, CachePolicy, CacheStatus
from olivine_golden.kv_cache import CacheError, Handle, KVCache, Policy, heavy, window

S = CacheStatus


def make(blocks=8, lanes=4, sequences=4, max_length=64, heads=1):
    return KVCache(blocks, lanes, sequences, max_length, heads)


def extend(cache, handle, values, keep=None):
    """One step that writes ``values`` and keeps them; returns both answers."""
    begun = cache.append(handle, len(values))
    assert begun.status is S.OK
    for offset, value in enumerate(values):
        cache.write(handle, offset, value)
    ended = cache.commit(handle, len(values) if keep is None else keep)
    assert ended.status is S.OK
    cache.check()
    return begun, ended


def contents(cache, handle, head=0):
    return [cache.read(handle, position, head) for position in range(cache.lookup(handle)[1].length)]


def test_every_operation_has_a_method():
    assert all(callable(getattr(KVCache, op.name.lower())) for op in CacheOp)


def test_blocks_come_back_in_the_order_in_which_they_were_freed():
    cache = make(blocks=4)
    a, b = cache.open().handle, cache.open().handle
    assert extend(cache, a, range(8))[0].granted == (0, 1)
    assert extend(cache, b, range(4))[0].granted == (2,)
    assert cache.close(a).released == (0, 1)
    assert extend(cache, b, range(12))[0].granted == (3, 0, 1)


def test_append_is_all_or_nothing():
    cache = make(blocks=4)
    a = cache.open().handle
    extend(cache, a, range(6))
    before = pickle.dumps(cache)
    assert cache.append(a, 11).status is S.NO_BLOCK
    assert pickle.dumps(cache) == before
    assert cache.append(a, 10).granted == (2, 3), "the last block's rest is used first"


def test_copy_on_write():
    cache = make()
    a = cache.open().handle
    extend(cache, a, range(10, 16))
    b = cache.fork(a).handle
    begun, _ = extend(cache, b, [30, 31, 32])
    assert begun.copies == ((1, 2),) and begun.granted == (2, 3)
    begun, _ = extend(cache, a, [20])
    assert begun.copies == () and begun.granted == (), "the block is a's alone again"
    assert contents(cache, a) == [10, 11, 12, 13, 14, 15, 20]
    assert contents(cache, b) == [10, 11, 12, 13, 14, 15, 30, 31, 32]


def test_full_shared_block_is_not_copied():
    cache = make()
    a = cache.open().handle
    extend(cache, a, range(4))
    b = cache.fork(a).handle
    assert extend(cache, b, [9])[0].copies == ()
    assert cache.close(a).released == (), "b holds it still"
    assert contents(cache, b) == [0, 1, 2, 3, 9]


def test_copy_on_write_needs_a_block_too():
    cache = make(blocks=2)
    a = cache.open().handle
    extend(cache, a, range(6))
    b = cache.fork(a).handle
    before = pickle.dumps(cache)
    assert cache.append(b, 1).status is S.NO_BLOCK
    assert pickle.dumps(cache) == before


def test_path_of_a_token_tree():
    """Offsets 0, 2, 5 and 9 of ten are kept; the first need not move."""
    cache = make()
    a = cache.open().handle
    extend(cache, a, [90, 91, 92])
    _, ended = extend(cache, a, range(10), keep=[0, 2, 5, 9])
    # Positions 5, 8, 12 to 4, 5, 6 in blocks 0, 1, 2, 3.
    assert ended.moves == ((5, 4), (8, 5), (12, 6)) and ended.released == (2, 3)
    assert contents(cache, a) == [90, 91, 92, 0, 2, 5, 9]


def test_commit_of_a_prefix_moves_nothing():
    cache = make()
    a = cache.open().handle
    _, ended = extend(cache, a, range(10), keep=5)
    assert ended.moves == () and ended.released == (2,) and contents(cache, a) == list(range(5))
    _, ended = extend(cache, a, range(10), keep=0)
    assert ended.released == (3, 4) and contents(cache, a) == list(range(5))


@pytest.mark.parametrize("keep", [-1, 5, [1, 1], [2, 1], [0, 4], [-1, 2]])
def test_bad_path(keep):
    cache = make()
    a = cache.open().handle
    cache.append(a, 4)
    before = pickle.dumps(cache)
    assert cache.commit(a, keep).status is S.BAD_COUNT
    assert pickle.dumps(cache) == before


def test_window_releases_what_no_query_sees_any_more():
    """Window 5: the query at position 9 sees 5 to 9, at 8 still 4."""
    cache = make()
    a = cache.open(window(5)).handle
    assert extend(cache, a, range(7))[1].released == ()
    assert extend(cache, a, [7])[1].released == (0,), "the query at 8 sees 4 to 8"
    with pytest.raises(CacheError, match="position 3 was evicted"):
        cache.read(a, 3)
    assert cache.truncate(a, 7).status is S.CROSSES_EVICTION, "the query at 7 sees 3"
    extend(cache, a, [8, 9, 10])
    assert cache.truncate(a, 8).status is S.OK
    assert [cache.read(a, position) for position in range(4, 8)] == [4, 5, 6, 7]
    b = cache.fork(a).handle
    extend(cache, b, range(20))
    assert [cache.read(b, position) for position in range(24, 28)] == [16, 17, 18, 19]
    assert [cache.read(a, position) for position in range(4, 8)] == [4, 5, 6, 7], "b's hole is not a's"


def test_truncate_releases_whole_blocks():
    cache = make()
    a = cache.open().handle
    extend(cache, a, range(10))
    assert cache.truncate(a, 11).status is S.BAD_COUNT and cache.truncate(a, -1).status is S.BAD_COUNT
    assert cache.truncate(a, 5).released == (2,) and contents(cache, a) == list(range(5))
    assert cache.truncate(a, 0).released == (0, 1)


def test_place_not_written_is_not_read():
    """Neither another sequence's leavings, nor one's own from before a truncation."""
    cache = make(blocks=2)
    a = cache.open().handle
    extend(cache, a, range(8))
    cache.close(a)
    b = cache.open().handle
    cache.append(b, 2)
    cache.write(b, 0, 7)
    assert cache.read(b, 0) == 7
    for commit in (False, True):
        if commit:
            cache.commit(b, 2)
        with pytest.raises(CacheError, match="never wrote"):
            cache.read(b, 1)
    extend(cache, b, [5, 6])
    cache.truncate(b, 1)
    cache.append(b, 2)
    with pytest.raises(CacheError, match="never wrote"):
        cache.read(b, 2)
    with pytest.raises(CacheError, match="position is 3: allowed is 0 to 2"):
        cache.read(b, 3)
    with pytest.raises(CacheError, match="offset is 2: 2 places are reserved"):
        cache.write(b, 2, 0)


def test_handles():
    cache = make(sequences=1)
    assert cache.append(Handle(0, 0), 1).status is S.NO_SEQUENCE, "never opened"
    a = cache.open().handle
    assert cache.open().status is S.NO_SEQUENCE and cache.fork(a).status is S.NO_SEQUENCE
    cache.close(a)
    assert cache.close(a).status is S.STALE_HANDLE
    b = cache.open().handle
    assert b == (0, 1) and cache.append(a, 1).status is S.STALE_HANDLE
    assert cache.lookup(b)[0] is S.OK and cache.lookup(Handle(1, 0))[0] is S.NO_SEQUENCE
    cache.generations[0] = (1 << GENERATION_BITS) - 1
    cache.close(Handle(0, cache.generations[0]))
    assert cache.open().handle == (0, 0), "generations wrap"


def test_swap():
    """Contents go and come; what the sequence did not write, or gave up, leaves as zeros."""
    cache = make(blocks=4)
    a = cache.open().handle
    extend(cache, a, range(1, 8))
    b = cache.fork(a).handle
    cache.truncate(b, 6)
    assert cache.swap_out(b, 10, 1).status is S.BAD_COUNT
    done = cache.swap_out(b, 10, 2)
    assert done.copies == ((0, 10), (1, 11)) and done.released == ()
    assert cache.host[11][:, 0].tolist() == [5, 6, 0, 0], "7 is a's"
    assert cache.append(b, 1).status is S.SWAPPED and cache.lookup(b)[0] is S.SWAPPED
    with pytest.raises(CacheError, match=r"host places \[11\] hold another"):
        cache.swap_out(a, 11, 2)
    cache.check()
    extend(cache, a, range(6))
    assert cache.swap_in(b).status is S.NO_BLOCK
    cache.close(a)
    done = cache.swap_in(b)
    assert [place for place, _ in done.copies] == [10, 11] and not cache.host
    assert contents(cache, b) == [1, 2, 3, 4, 5, 6] and cache.swap_in(b).status is S.NOT_SWAPPED
    cache.check()


def test_swap_keeps_holes_and_close_frees_host_memory():
    cache = make()
    a = cache.open(window(4)).handle
    extend(cache, a, range(12))
    assert len(cache.swap_out(a, 0, 9).copies) == 1
    assert cache.swap_in(a).status is S.OK and cache.read(a, 9) == 9
    cache.check()
    cache.swap_out(a, 0, 9)
    cache.close(a)
    cache.check()
    assert not cache.host and len(cache.free) == 8


def test_heavy_hitter_sequence():
    """Two heads drop different tokens; blocks stop growing; a fault breaks it."""
    cache = make(heads=2)
    a = cache.open(heavy(2, 2, 2)).handle
    assert cache.append(a, 3).status is S.BAD_COUNT, "more than a chunk"
    extend(cache, a, [0, 1])
    extend(cache, a, [2, 3])
    assert cache.truncate(a, 3).status is S.OK, "nothing was evicted yet"
    extend(cache, a, [3])
    cache.append(a, 1)
    cache.write(a, 0, 4)
    for head, hitter in enumerate(cache.lookup(a)[1].hitters):
        scores = np.zeros((1, 6), np.int64)
        scores[0, head] = -1000
        hitter.attend_add(scores, np.zeros(1, np.int64), hitter.seen(1, 1))
    assert cache.commit(a, 0).status is S.BAD_COUNT
    assert cache.commit(a, 1).dropped == ((0,), (1,))
    assert [cache.read(a, 4, head) for head in (0, 1)] == [4, 4] and cache.read(a, 0, 1) == 0
    with pytest.raises(CacheError, match="position 0 was evicted"):
        cache.read(a, 0, 0)
    assert cache.truncate(a, 4).status is S.CROSSES_EVICTION and cache.truncate(a, 5).status is S.OK
    assert cache.fork(a).status is S.NOT_FORKABLE
    for value in range(5, 30):
        extend(cache, a, [value])
    assert len(cache.lookup(a)[1].table) == 2
    assert cache.fault(a).status is S.NOTHING_RESERVED
    cache.append(a, 1)
    assert cache.fault(a).status is S.OK
    for op in (lambda: cache.append(a, 1), lambda: cache.commit(a, 1), lambda: cache.truncate(a, 0),
               lambda: cache.fork(a), lambda: cache.swap_out(a, 0, 9), lambda: cache.swap_in(a),
               lambda: cache.fault(a)):
        assert op().status is S.BROKEN
    assert cache.lookup(a)[0] is S.BROKEN
    assert cache.close(a).status is S.OK and len(cache.free) == 8
    cache.check()


def test_fault_of_another_sequence_is_rolled_back():
    cache = make()
    a = cache.open().handle
    extend(cache, a, [1])
    cache.append(a, 5)
    assert cache.fault(a).status is S.OK and cache.commit(a, 0).released == (1,)
    assert contents(cache, a) == [1]


@pytest.mark.parametrize("policy", [window(0), heavy(0, 1, 1), heavy(1, 0, 1), heavy(1, 1, 0), heavy(40, 20, 5)])
def test_bad_policy(policy):
    assert make().open(policy).status is S.BAD_COUNT


def double_free(cache):
    cache.free.append(0)


def lost_block(cache):
    cache.free.popleft()


def wrong_count(cache):
    cache.counts[1] += 1


def hole(cache):
    cache.counts[0], cache.slots[0].table[0] = 0, None
    cache.free.append(0)


def short_table(cache):
    block = cache.slots[0].table.pop()
    cache.counts[block] = 0
    cache.free.append(block)


def shared_reservation(cache):
    handle = Handle(0, 0)
    cache.append(handle, 1)
    cache.slots[0].reserved = 0
    cache.fork(handle)
    cache.slots[0].reserved = 1


@pytest.mark.parametrize("damage, why", [
    (double_free, "twice|are held"), (lost_block, "are held"), (wrong_count, "has count 2 and 1"),
    (hole, "has holes"), (short_table, "has 1 blocks"), (shared_reservation, "shares a block|blocks for"),
])
def test_check_sees(damage, why):
    cache = make()
    extend(cache, cache.open().handle, range(6))
    damage(cache)
    with pytest.raises(CacheError, match=why):
        cache.check()


# The random machine. The naive model knows no counts, no free list and no places: a block is a number that
# nobody used before, and is free when nobody lists it.

WEIGHTS = [round(2 ** 20 * 2 ** (-f / 256)) for f in range(256)]


def naive_weight(d):
    whole = WEIGHTS[d % 256]
    return (2 * whole + (1 << d // 256)) >> d // 256 + 1


class NaiveSequence:
    def __init__(self, policy, heads):
        self.policy, self.is_heavy = policy, policy.kind is CachePolicy.HEAVY
        self.tokens, self.pending, self.blocks = [], [], []
        self.broken = self.swapped = self.evicted = False
        # heavy: of each head, position -> sum
        self.sums = [{} for _ in range(heads)]
        self.lost = 0       # window: positions below are given up

    def status(self):
        return S.BROKEN if self.broken else S.SWAPPED if self.swapped else S.OK


class Naive:
    def __init__(self, cache):
        self.blocks, self.lanes, self.heads = len(cache.counts), cache.lanes, cache.heads
        self.slots, self.max_length = len(cache.slots), cache.max_length
        self.open_, self.closed, self.serial = {}, set(), 0

    def free(self):
        return self.blocks - len({block for seq in self.open_.values() if not seq.swapped
                                  for block in seq.blocks if block is not None})

    def fresh(self, count):
        self.serial += count
        return list(range(self.serial - count, self.serial))

    def status(self, handle):
        if handle in self.open_:
            return self.open_[handle].status()
        # A slot's generation is the number of its sequences that were closed.
        current = sum(slot == handle.slot for slot, _ in self.closed)
        exists = 0 <= handle.slot < self.slots
        return S.STALE_HANDLE if exists and handle.generation != current else S.NO_SEQUENCE

    def entries(self, places):
        return (places + self.lanes - 1) // self.lanes

    def append(self, handle, n):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if seq.pending:
            return S.RESERVED
        if n < 1 or seq.is_heavy and n > seq.policy.chunk:
            return S.BAD_COUNT
        if len(seq.tokens) + n > self.max_length:
            return S.OVER_LENGTH
        held = len(seq.sums[0]) if seq.is_heavy else len(seq.tokens)
        new = max(self.entries(held + n) - len(seq.blocks), 0)
        shared = held % self.lanes != 0 and not seq.is_heavy and any(
            seq.blocks[-1] in other.blocks for other in self.open_.values() if other is not seq and not other.swapped)
        if new + shared > self.free():
            return S.NO_BLOCK
        if shared:
            seq.blocks[-1:] = self.fresh(1)
        seq.blocks += self.fresh(new)
        seq.pending = [None] * n
        for sums in seq.sums if seq.is_heavy else ():
            sums.update({len(seq.tokens) + i: 0 for i in range(n)})
        return S.OK

    def commit(self, handle, keep):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if not seq.pending:
            return S.NOTHING_RESERVED
        if isinstance(keep, int):
            if not 0 <= keep <= len(seq.pending):
                return S.BAD_COUNT
            keep = range(keep)
        if list(keep) != sorted(set(keep)) or not set(keep) <= set(range(len(seq.pending))):
            return S.BAD_COUNT
        if seq.is_heavy and len(keep) != len(seq.pending):
            return S.BAD_COUNT
        seq.tokens += [seq.pending[i] for i in keep]
        seq.pending = []
        if seq.is_heavy:
            for sums in seq.sums:
                while len(sums) > seq.policy.heavy + seq.policy.recent:
                    older = [p for p in sums if p < len(seq.tokens) - seq.policy.recent]
                    del sums[min(older, key=lambda p, sums=sums: (sums[p], p))]
                    seq.evicted = True
            return S.OK
        del seq.blocks[self.entries(len(seq.tokens)):]
        if seq.policy.kind is CachePolicy.WINDOW:
            for index in range(len(seq.blocks)):
                end = (index + 1) * self.lanes
                if all(p <= len(seq.tokens) - seq.policy.window for p in range(end - self.lanes, end)):
                    seq.blocks[index], seq.lost = None, max(seq.lost, end)
        return S.OK

    def fork(self, handle):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if seq.is_heavy:
            return S.NOT_FORKABLE
        if seq.pending:
            return S.RESERVED
        return S.NO_SEQUENCE if len(self.open_) == self.slots else S.OK

    def forked(self, handle, new):
        seq, copy = self.open_[handle], NaiveSequence(self.open_[handle].policy, self.heads)
        copy.tokens, copy.blocks, copy.lost = list(seq.tokens), list(seq.blocks), seq.lost
        self.open_[new] = copy

    def truncate(self, handle, length):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if seq.pending:
            return S.RESERVED
        if not 0 <= length <= len(seq.tokens):
            return S.BAD_COUNT
        if length < len(seq.tokens):
            needed = [p for p in range(length + 1) if p > length - seq.policy.window]
            if seq.evicted or seq.lost and any(p < seq.lost for p in needed):
                return S.CROSSES_EVICTION
            del seq.tokens[length:], seq.blocks[self.entries(length):]
            seq.sums = [{p: s for p, s in sums.items() if p < length} for sums in seq.sums]
        return S.OK

    def close(self, handle):
        if (status := self.status(handle)) in (S.STALE_HANDLE, S.NO_SEQUENCE):
            return status
        del self.open_[handle]
        self.closed.add(handle)
        return S.OK

    def swap_out(self, handle, first, count):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if seq.pending:
            return S.RESERVED
        if sum(block is not None for block in seq.blocks) > count:
            return S.BAD_COUNT
        seq.swapped = True
        return S.OK

    def swap_in(self, handle):
        if (status := self.status(handle)) not in (S.OK, S.SWAPPED):
            return status
        seq = self.open_[handle]
        if not seq.swapped:
            return S.NOT_SWAPPED
        present = [index for index, block in enumerate(seq.blocks) if block is not None]
        if len(present) > self.free():
            return S.NO_BLOCK
        for index, block in zip(present, self.fresh(len(present))):
            seq.blocks[index] = block
        seq.swapped = False
        return S.OK

    def value(self, seq, position, head):
        """What a read gives, None where it must be refused."""
        token = (seq.tokens + seq.pending)[position]
        gone = position not in seq.sums[head] if seq.is_heavy else position < seq.lost
        return None if gone or token is None else token[head]


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
