"""The golden key-value cache: each operation by example."""

import pickle

import numpy as np
import pytest
from olivine.kvcache.descriptor import GENERATION_BITS, CacheOp, CacheStatus
from olivine_golden.kv_cache import CacheError, KVCache
from olivine_golden.kv_sequence import Handle, heavy, window

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
