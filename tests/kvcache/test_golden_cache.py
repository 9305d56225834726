"""The golden key-value cache: each operation by example."""

import copy

import pytest
from olivine.kvcache.descriptor import BLOCK_UNIT, GENERATION_BITS, CacheOp, CacheStatus
from olivine_golden.kv_cache import CacheError, KVCache
from olivine_golden.kv_sequence import Copy, Handle, Place, heavy, window

S = CacheStatus
HOST = 1 << 40


def make(blocks=8, lanes=4, sequences=4, max_length=64, heads=1, **more):
    return KVCache(blocks, lanes, sequences, max_length, heads, **more)


def state(cache):
    return copy.deepcopy((cache.slots, cache.generations, cache.counts, cache.free))


def write(cache, handle):
    """What the engines do in a step, apart from the contents."""
    for _ in range(cache.heads):
        cache.appended(handle.slot)
        if cache.lookup(handle)[1].is_heavy:
            cache.touched(handle.slot)
            cache.summed(handle.slot)
    cache.ended(0)


def extend(cache, handle, tokens, keep=None):
    """One step of so many tokens; returns both answers."""
    begun = cache.append(handle, tokens)
    assert begun.status is S.OK
    write(cache, handle)
    ended = cache.commit(handle, tokens if keep is None else keep)
    assert ended.status is S.OK
    cache.check()
    return begun, ended


def table(cache, handle):
    return cache.lookup(handle)[1].table


def test_every_operation_has_a_method():
    assert all(callable(getattr(KVCache, op.name.lower())) for op in CacheOp)


def test_blocks_come_back_in_the_order_in_which_they_were_freed():
    cache = make(blocks=4)
    a, b = cache.open().handle, cache.open().handle
    assert extend(cache, a, 8)[0].granted == (0, 1)
    assert extend(cache, b, 4)[0].granted == (2,)
    assert cache.close(a).released == (0, 1)
    assert extend(cache, b, 12)[0].granted == (3, 0, 1)


def test_append_is_all_or_nothing():
    cache = make(blocks=4)
    a = cache.open().handle
    extend(cache, a, 6)
    before = state(cache)
    assert cache.append(a, 11).status is S.NO_BLOCK
    assert state(cache) == before
    assert cache.append(a, 10).granted == (2, 3), "the last block's rest is used first"


def test_copy_on_write():
    cache = make(base=1 << 32, block_bytes=3 * BLOCK_UNIT)
    a = cache.open().handle
    extend(cache, a, 6)
    b = cache.fork(a).handle
    begun, _ = extend(cache, b, 3)
    assert begun.granted == (2, 3)
    assert begun.copies == (Copy((1 << 32) + 3 * BLOCK_UNIT, (1 << 32) + 6 * BLOCK_UNIT, 2, 0),)
    begun, _ = extend(cache, a, 1)
    assert begun.copies == () and begun.granted == (), "the block is a's alone again"
    assert table(cache, a) == [0, 1] and table(cache, b) == [0, 2, 3]


def test_full_shared_block_is_not_copied():
    cache = make()
    a = cache.open().handle
    extend(cache, a, 4)
    b = cache.fork(a).handle
    assert extend(cache, b, 1)[0].copies == ()
    assert cache.close(a).released == (), "b holds it still"


def test_copy_on_write_needs_a_block_too():
    cache = make(blocks=2)
    a = cache.open().handle
    extend(cache, a, 6)
    b = cache.fork(a).handle
    before = state(cache)
    assert cache.append(b, 1).status is S.NO_BLOCK
    assert state(cache) == before


def test_copy_on_write_that_fails():
    """Everything is as before; the block that was granted goes to the end of the free list."""
    cache = make(mover=lambda move: 0x1234)
    a = cache.open().handle
    extend(cache, a, 6)
    b = cache.fork(a).handle
    slots, generations, counts, free = state(cache)
    answer = cache.append(b, 7)
    assert answer.status is S.FAULT and answer.address == 0x1234 and answer.granted == answer.released == (2,)
    assert state(cache)[:3] == (slots, generations, counts) and list(cache.free) == [*list(free)[1:], 2]
    cache.mover = None
    assert cache.append(b, 7).granted == (3, 4, 5)


def test_path_of_a_token_tree():
    """Offsets 0, 2, 5 and 9 of ten are kept; the first need not move."""
    cache = make()
    a = cache.open().handle
    extend(cache, a, 3)
    _, ended = extend(cache, a, 10, keep=[0, 2, 5, 9])
    # Positions 5, 8, 12 to 4, 5, 6 in blocks 0, 1, 2, 3.
    unit = BLOCK_UNIT
    assert ended.moves == (Place(unit, unit, 1, 0), Place(2 * unit, unit, 0, 1), Place(3 * unit, unit, 0, 2))
    assert ended.released == (2, 3) and cache.lookup(a)[1].length == 7


def test_commit_of_a_prefix_moves_nothing():
    cache = make()
    a = cache.open().handle
    _, ended = extend(cache, a, 10, keep=5)
    assert ended.moves == () and ended.released == (2,)
    _, ended = extend(cache, a, 10, keep=0)
    assert ended.released == (3, 4) and cache.lookup(a)[1].length == 5


@pytest.mark.parametrize("keep", [-1, 5, [1, 1], [2, 1], [0, 4], [-1, 2]])
def test_bad_path(keep):
    cache = make()
    a = cache.open().handle
    cache.append(a, 4)
    write(cache, a)
    before = state(cache)
    assert cache.commit(a, keep).status is S.BAD_COUNT
    assert state(cache) == before


def test_path_move_that_fails_leaves_the_step_to_be_written_again():
    """Whichever move failed: the places stay reserved, all heads are to be appended again."""
    for fails_at in range(3):
        moves = []

        def mover(move, moves=moves, fails_at=fails_at):
            moves.append(move)
            return 77 if len(moves) == fails_at + 1 else None

        cache = make(heads=2, mover=mover)
        a = cache.open().handle
        cache.append(a, 4)
        write(cache, a)
        before = state(cache)
        answer = cache.commit(a, [1, 2, 3])
        assert (answer.status, answer.address, len(moves)) == (S.FAULT, 77, fails_at + 1)
        before[0][a.slot].appended = 0
        assert state(cache) == before
        for head in range(2):
            assert cache.commit(a, [1, 2, 3]).status is S.NOT_WRITTEN and cache.lookup(a)[1].appended == head
            cache.appended(a.slot)
        assert cache.commit(a, [1, 2, 3]).status is S.OK and cache.lookup(a)[1].length == 3


def test_step_whose_path_move_failed_can_be_given_up():
    cache = make(mover=lambda move: 77)
    a = cache.open().handle
    cache.append(a, 4)
    write(cache, a)
    assert cache.commit(a, [1]).status is S.FAULT and cache.commit(a, 1).status is S.NOT_WRITTEN
    assert cache.commit(a, 0).released == (0,)


def test_only_what_every_head_wrote_is_committed():
    cache = make(heads=2)
    a = cache.open().handle
    cache.append(a, 3)
    for heads in range(2):
        assert cache.commit(a, 1).status is S.NOT_WRITTEN and cache.lookup(a)[1].appended == heads
        assert cache.commit(a, 4).status is S.BAD_COUNT, "comes before NOT_WRITTEN"
        cache.appended(a.slot)
    assert cache.commit(a, 1).status is S.OK
    assert cache.append(a, 1).status is S.OK and cache.lookup(a)[1].appended == 0
    assert cache.commit(a, 0).status is S.OK, "nothing is kept"
    b = cache.open(heavy(1, 1, 1)).handle
    cache.append(b, 1)
    for _ in range(2):
        cache.appended(b.slot)
    for _ in range(2):
        assert cache.commit(b, 1).status is S.NOT_WRITTEN
        cache.summed(b.slot)
    assert cache.commit(b, 1).status is S.OK


def test_window_releases_what_no_query_sees_any_more():
    """Window 5: the query at position 9 sees 5 to 9, at 8 still 4."""
    cache = make()
    a = cache.open(window(5)).handle
    assert extend(cache, a, 7)[1].released == ()
    assert extend(cache, a, 1)[1].released == (0,), "the query at 8 sees 4 to 8"
    assert cache.found(a, 0)["present"] == 0 and cache.found(a, 1)["present"] == 1
    assert cache.truncate(a, 7).status is S.CROSSES_EVICTION, "the query at 7 sees 3"
    extend(cache, a, 3)
    assert cache.truncate(a, 8).status is S.OK
    b = cache.fork(a).handle
    extend(cache, b, 20)
    assert table(cache, b)[:6] == [None] * 6 and table(cache, a)[1] is not None, "b's hole is not a's"


def test_truncate_releases_whole_blocks():
    cache = make()
    a = cache.open().handle
    extend(cache, a, 10)
    assert cache.truncate(a, 11).status is S.BAD_COUNT and cache.truncate(a, -1).status is S.BAD_COUNT
    assert cache.truncate(a, 5).released == (2,) and cache.lookup(a)[1].length == 5
    assert cache.truncate(a, 0).released == (0, 1)


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
    """Blocks go and come; of the last one only what is filled."""
    cache = make(blocks=4)
    a = cache.open().handle
    extend(cache, a, 7)
    b = cache.fork(a).handle
    cache.truncate(b, 6)
    assert cache.swap_out(b, HOST, 1).status is S.BAD_COUNT and cache.swap_out(b, HOST + 8, 2).status is S.BAD_COUNT
    done = cache.swap_out(b, HOST, 2)
    assert done.copies == (Copy(0, HOST, 4, 1), Copy(BLOCK_UNIT, HOST + BLOCK_UNIT, 2, 1)) and done.released == ()
    assert cache.append(b, 1).status is S.SWAPPED and cache.lookup(b)[0] is S.SWAPPED
    cache.check()
    extend(cache, a, 6)
    assert cache.swap_in(b).status is S.NO_BLOCK
    assert cache.close(a).released == (0, 1, 2, 3)
    done = cache.swap_in(b)
    assert done.granted == (0, 1)
    assert done.copies == (Copy(HOST, 0, 4, 0), Copy(HOST + BLOCK_UNIT, BLOCK_UNIT, 2, 0))
    assert cache.swap_in(b).status is S.NOT_SWAPPED
    cache.check()


def test_swap_keeps_holes_and_closing_releases_nothing_twice():
    cache = make()
    a = cache.open(window(4)).handle
    extend(cache, a, 12)
    assert len(cache.swap_out(a, HOST, 9).copies) == 1
    assert cache.swap_in(a).status is S.OK and table(cache, a)[:2] == [None, None]
    cache.check()
    cache.swap_out(a, HOST, 9)
    assert cache.close(a).released == ()
    cache.check()
    assert len(cache.free) == 8


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_swap_that_fails(fails_at):
    cache = make(blocks=3)
    a = cache.open().handle
    extend(cache, a, 10)
    calls = []

    def mover(move):
        calls.append(move)
        return 5 if len(calls) == fails_at + 1 else None

    cache.mover = mover
    before = state(cache)
    assert cache.swap_out(a, HOST, 3).status is S.FAULT and state(cache) == before
    assert cache.swap_out(a, HOST, 3).status is S.OK
    calls.clear()
    slots, _, counts, _ = state(cache)
    answer = cache.swap_in(a)
    assert answer.status is S.FAULT and answer.granted == answer.released == (0, 1, 2)[:fails_at + 1]
    assert (cache.slots, cache.counts) == (slots, counts)
    assert cache.swap_in(a).status is S.OK
    cache.check()


def test_heavy_hitter_sequence():
    """Cells that were freed are taken first; blocks stop growing; a job that fails breaks it."""
    cache = make(heads=2)
    a = cache.open(heavy(2, 2, 2)).handle
    assert cache.append(a, 3).status is S.BAD_COUNT, "more than a chunk"
    extend(cache, a, 2)
    extend(cache, a, 2)
    assert cache.truncate(a, 3).status is S.OK and cache.lookup(a)[1].filled == 3, "nothing was evicted yet"
    extend(cache, a, 1)
    cache.append(a, 1)
    write(cache, a)
    seq = cache.lookup(a)[1]
    assert (seq.before, seq.filled, seq.length) == (4, 5, 4)
    assert cache.commit(a, 0).status is S.BAD_COUNT and cache.commit(a, 1).status is S.OK
    assert cache.truncate(a, 4).status is S.CROSSES_EVICTION and cache.truncate(a, 5).status is S.OK
    assert cache.fork(a).status is S.NOT_FORKABLE
    for _ in range(25):
        extend(cache, a, 1)
    assert (seq.before, seq.filled, len(seq.table)) == (5, 5, 2), "a new token takes the one free cell"
    extend(cache, a, 2)
    assert (seq.before, seq.filled) == (5, 6)
    cache.append(a, 1)
    cache.touched(a.slot)
    cache.ended(0)
    assert cache.lookup(a)[0] is S.OK
    cache.ended(1)
    assert cache.lookup(a)[0] is S.OK, "that job touched nothing"
    cache.touched(a.slot)
    cache.ended(1)
    for op in (lambda: cache.append(a, 1), lambda: cache.commit(a, 1), lambda: cache.truncate(a, 0),
               lambda: cache.fork(a), lambda: cache.swap_out(a, HOST, 9), lambda: cache.swap_in(a)):
        assert op().status is S.BROKEN
    assert cache.lookup(a)[0] is S.BROKEN
    assert cache.close(a).status is S.OK and len(cache.free) == 8
    cache.check()


def test_closing_forgets_that_a_job_had_touched():
    cache = make()
    a = cache.open().handle
    cache.touched(a.slot)
    cache.close(a)
    b = cache.open().handle
    cache.ended(1)
    assert b.slot == a.slot and cache.lookup(b)[0] is S.OK


def test_positions_of_heavy_hitters_end_before_that_of_a_free_cell():
    cache = make(max_length=1 << 16)
    a, b = cache.open(heavy(1, 1, 100)).handle, cache.open().handle
    for handle in (a, b):
        cache.lookup(handle)[1].length = 65530
    assert cache.append(a, 6).status is S.OVER_LENGTH and cache.append(a, 5).status is S.OK
    assert cache.append(b, 7).status is S.OVER_LENGTH


@pytest.mark.parametrize("policy", [window(0), heavy(0, 1, 1), heavy(1, 0, 1), heavy(1, 1, 0), heavy(40, 20, 5),
                                    heavy(20, 10, 3)])
def test_bad_policy(policy):
    assert make(cells=32).open(policy).status is S.BAD_COUNT
    assert make(cells=32).open(heavy(20, 10, 2)).status is S.OK


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
    extend(cache, cache.open().handle, 6)
    damage(cache)
    with pytest.raises(CacheError, match=why):
        cache.check()
