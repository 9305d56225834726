"""The golden model of attention over the cache: against plain integers, plain attention, and float."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from olivine.attention.descriptor import OutputFormat
from olivine.olive.formats import LaneFormat
from olivine_golden import exp2
from olivine_golden.attention import LSE_EMPTY, Group, attention
from olivine_golden.cached_attention import (
    ALL_ROWS,
    CachedGroup,
    Met,
    Segment,
    cached_attention,
    cell_scores,
    hitter_step,
    keys_seen,
    pages_met,
)
from olivine_golden.heavy_hitter import HeavyHitter

from tests.attention.test_golden import (
    assert_same,
    random_group,
    slow_decode,
    slow_finish,
    slow_merge,
    slow_rsh,
    slow_sat,
)

INT8 = {"key_format": LaneFormat.INT8, "value_format": LaneFormat.INT8}
TALLIES = ("sat_row", "sat_score", "illegal", "sat_output")
KINDS = ("plain", "tree", "cells")


def random_cached(rng, kind, lanes, rows, segments, d, key_format, value_format, **numbers):
    """Random segments, masks, tree and cells; ``segments`` are (first, keys)."""
    parts, total = [], 0
    for first, keys in segments:
        group = random_group(rng, rows, keys, d, key_format, value_format, reach=numbers.get("reach", 2048))
        mask = int(rng.choice([ALL_ROWS, 0x5555_5555_5555_5555, 0b111, rng.integers(1 << 62), 0]))
        parts.append(Segment(group.k_codes, group.v_codes, first, mask))
        total = max(total, first * lanes + keys)
    numbers = {"score_mult": 40_000, "score_shift": 26, **numbers}
    numbers.pop("reach", None)
    tree = cells = None
    if kind == "tree":
        tree = tuple(int(bits) for bits in rng.integers(0, 1 << 63, rows, np.uint64) & rng.integers(0, 1 << 63, rows,
                                                                                                    np.uint64))
    if kind == "cells":
        cells = rng.permutation(total + 3)[:total]
        cells[rng.random(total) < 0.2] = -1
    return CachedGroup(group.q, parts, tree=tree, cells=cells, **numbers)


# One row at a time, one key at a time, in Python's integers: nothing here comes from the model.


def slow_sees(group, segment, row, key, heads, causal, window):
    own = group.position + row // heads
    if not segment.rows >> row % 64 & 1:
        return False
    if group.cells is not None:
        key = int(group.cells[key])
        if key < 0:
            return False
    if group.tree is not None:
        if key >= group.position:
            return key - group.position < 64 and bool(group.tree[row] >> key - group.position & 1)
        causal = False
    return (key <= own or not causal) and (window == 0 or key > own - window)


def slow_pages(group, lanes, rows, heads, causal, window):
    """(segment, keys of a page) that a chunk of ``rows`` meets."""
    own = [group.position + row // heads for row in (rows[0], rows[-1])]
    for segment in group.segments:
        if not any(segment.rows >> row % 64 & 1 for row in rows):
            continue
        end = segment.first * lanes + len(segment.k_codes)
        low = max(own[0] - window + 1, 0) if window else 0
        if group.tree is None and group.cells is None and causal:
            end = min(end, own[1] + 1)
        if group.cells is not None:
            low = 0
        for page in range(segment.first, 1000):
            if page >= low // lanes and page * lanes < end:
                yield segment, range(page * lanes, min(end, (page + 1) * lanes))


def slow_cached(group, lanes, chunk_rows, key_format, value_format, heads, causal, window, bits):
    decoded = {id(segment): [[slow_decode(codes, fmt) for codes in array.tolist()]
                             for array, fmt in ((segment.k_codes, key_format), (segment.v_codes, value_format))]
               for segment in group.segments}
    tallies = dict.fromkeys(TALLIES, 0)
    states, results = [], []
    for row, q in enumerate(group.q.tolist()):
        chunk = row // chunk_rows * chunk_rows
        rows = range(chunk, min(chunk + chunk_rows, group.rows))
        tallies["sat_row"] += sum(not -2048 <= value <= 2047 for value in q)
        q = [slow_sat(value, 12) for value in q]
        state = -128, 0, [0] * len(q)
        for segment, keys in slow_pages(group, lanes, rows, heads, causal, window):
            k, v = decoded[id(segment)]
            scores = {}
            for key in keys:
                at = key - segment.first * lanes
                if row == chunk:
                    tallies["illegal"] += k[at][1] + v[at][1]
                if slow_sees(group, segment, row, key, heads, causal, window):
                    score = slow_rsh(sum(map(int.__mul__, q, k[at][0])) * group.score_mult, group.score_shift)
                    scores[at] = slow_sat(score, 16)
                    tallies["sat_score"] += scores[at] != score
            m = max([(score + 255) // 256 for score in scores.values()], default=-128)
            p = {at: slow_rsh(int(exp2.TABLE[(256 * m - s) % 256]), (256 * m - s) // 256 + 5)
                 for at, s in scores.items()}
            state = slow_merge(*state, (m, 32 * sum(p.values()),
                                        [32 * sum(p[at] * v[at][0][i] for at in p) for i in range(len(q))]))
        *result, saturated = slow_finish(*state, group.o_mult, group.o_shift, bits)
        tallies["sat_output"] += saturated
        states.append(state)
        results.append(result)
    return states, results, tallies


@pytest.mark.parametrize("kind", KINDS)
def test_equals_plain_integers(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    total, blank = dict.fromkeys(TALLIES, 0), 0
    for key_format, value_format, o_format in [*product(LaneFormat, LaneFormat, OutputFormat)] * 2:
        heads, lanes = int(rng.integers(1, 5)), int(rng.choice([2, 4, 8]))
        options = {"lanes": lanes, "chunk_rows": int(rng.integers(1, 10)), "key_format": key_format,
                   "value_format": value_format, "heads": heads, "causal": bool(rng.integers(2)),
                   "window": int(rng.choice([0, 0, 1, 2, 7, 20]))}
        count = int(rng.integers(1, 5)) if kind == "plain" else 1
        firsts = rng.integers(0, 4, count) if kind != "cells" else [0]
        group = random_cached(
            rng, kind, lanes, int(rng.choice([1, 3, 8, 70], p=[.3, .3, .3, .1])),
            [(int(first), int(rng.integers(1, 20))) for first in firsts], int(rng.choice([2, 6, 8])), key_format,
            value_format, position=int(rng.integers(-4, 30)), reach=int(rng.choice([30, 2048, 2200])),
            score_mult=int(rng.integers(1 << 16)), score_shift=int(rng.choice([0, 8, 12, 16, 20, 63])),
            o_mult=int(rng.choice([0, 1, 30_000, 65_535])), o_shift=int(rng.choice([0, 16, 24, 25, 30, 63])))
        found = cached_attention(group, **options, o_format=o_format)
        whole = o_format is not OutputFormat.PARTIAL
        states, results, tallies = slow_cached(group, **options, bits=o_format.bits if whole else 16)
        assert found["tallies"] == {**tallies, "sat_output": tallies["sat_output"] if whole else 0}
        assert_same(found["partial"], map(list, zip(*states)))
        y, lse = map(list, zip(*results))
        assert np.array_equal(found["lse"], lse) and (np.array_equal(found["y"], y) if whole else found["y"] is None)
        total = {name: total[name] + tallies[name] for name in total}
        blank += not all(pages_met(group, **{name: options[name] for name in
                                             ("lanes", "chunk_rows", "heads", "causal", "window")}))
    assert all(total.values()) and blank, f"{total}, {blank} with blank chunks: something never happened"


def cut(group, lanes, cuts, rows=ALL_ROWS):
    """A plain group's keys as consecutive segments that begin at the pages ``cuts``."""
    edges = [*(page * lanes for page in cuts), group.keys]
    return [Segment(group.k_codes[a:b], group.v_codes[a:b], page, rows)
            for page, a, b in zip(cuts, edges, edges[1:])]


def cached(group, segments, **changes):
    names = ("q", "position", "score_mult", "score_shift", "o_mult", "o_shift")
    return CachedGroup(**{**{name: getattr(group, name) for name in names}, "segments": segments, **changes})


@pytest.mark.parametrize("causal, window", [(False, 0), (True, 0), (True, 11), (False, 11)])
def test_one_sequence_equals_plain_attention(causal, window):
    """Bits and tallies, as one segment and as several, for any chunks; pages before the window need not be there."""
    rng = np.random.default_rng(5)
    for key_format, value_format in zip(LaneFormat, [*LaneFormat][1:] + [LaneFormat.OVP4_INT]):
        options = {"lanes": 8, "key_format": key_format, "value_format": value_format, "heads": 3, "causal": causal,
                   "window": window, "o_format": OutputFormat.INT16}
        group = random_group(rng, 33, 61, 16, key_format, value_format, position=50)
        for chunk_rows in (4, 7, 33):
            plain = attention(group, chunk_rows=chunk_rows, **options)
            cuts = [[0], [0, 3], [0, 1, 2, 7]] + ([[5], [5, 6]] if window else [])
            for pages in cuts:
                found = cached_attention(cached(group, cut(group, 8, pages)), chunk_rows=chunk_rows, **options)
                assert found["tallies"] == plain["tallies"]
                assert_same(found["partial"], plain["partial"])
                assert_same((found["y"], found["lse"]), (plain["y"], plain["lse"]))


def test_forks_read_the_shared_prefix_once():
    """Four sequences with 24 keys in common, in pages of 8, and 3 to 17 of their own: each row to the bit as if alone,
    although the prefix is met once."""
    rng = np.random.default_rng(6)
    options = {"lanes": 8, **INT8, "heads": 2, "causal": False, "window": 0, "o_format": OutputFormat.INT16}
    shared = random_group(rng, 8, 24, 16, *INT8.values())
    own = [random_group(rng, 8, keys, 16, *INT8.values()) for keys in (3, 8, 17, 5)]
    segments = cut(shared, 8, [0], 0xff)
    for number, group in enumerate(own):
        segments.append(Segment(group.k_codes, group.v_codes, 3, 0b11 << 2 * number))
    group = cached(shared, segments, position=23)
    for chunk_rows in (1, 3, 8):
        found = cached_attention(group, chunk_rows=chunk_rows, **options)
        for number, tail in enumerate(own):
            rows = slice(2 * number, 2 * number + 2)
            alone = Group(shared.q[rows], np.concatenate([shared.k_codes, tail.k_codes]),
                          np.concatenate([shared.v_codes, tail.v_codes]), position=0,
                          score_mult=shared.score_mult, score_shift=shared.score_shift)
            expected = attention(alone, chunk_rows=8, **options)
            assert_same((found["y"][rows], found["lse"][rows]), (expected["y"], expected["lse"]))
            assert_same([part[rows] for part in found["partial"]], expected["partial"])
    masks = {name: options[name] for name in ("lanes", "heads", "causal", "window")}
    assert pages_met(group, chunk_rows=8, **masks) == [
        [Met(0, 0, 3, 8), Met(1, 3, 4, 3), Met(2, 3, 4, 8), Met(3, 3, 6, 1), Met(4, 3, 4, 5)]]
    assert pages_met(group, chunk_rows=3, **masks)[1] == [Met(0, 0, 3, 8), Met(2, 3, 4, 8), Met(3, 3, 6, 1)]


def test_tree_by_float():
    """Random trees behind a prefix: each node sees its ancestors and the prefix; within the bound of plain attention
    against float64 softmax of the same integers."""
    rng = np.random.default_rng(7)
    worst = 0
    for length, nodes, window in product((0, 5, 40), (1, 7, 31, 64), (0, 70)):
        parents = [-1] + [int(rng.integers(0, node)) for node in range(1, nodes)]
        masks = []
        for node, parent in enumerate(parents):
            masks.append(1 << node | (masks[parent] if parent >= 0 else 0))
        group = random_group(rng, nodes * 2, length + nodes, 16, *INT8.values(), score_shift=25)
        tree = cached(group, cut(group, 8, [0]), position=length, tree=tuple(mask for mask in masks for _ in range(2)))
        found = cached_attention(tree, lanes=8, chunk_rows=8, **INT8, heads=2, causal=True, window=window,
                                 o_format=OutputFormat.INT16)
        k, v = group.k_codes.view(np.int8).astype(float), group.v_codes.view(np.int8).astype(float)
        scores = group.q @ k.T * group.score_mult / 2.0 ** group.score_shift / 256
        for row, node in enumerate(np.repeat(np.arange(nodes), 2)):
            for key in range(length + nodes):
                near = not window or key > length + node - window
                ancestor = masks[node] >> (key - length) & 1 if key >= length else near
                if not ancestor:
                    scores[row, key] = -np.inf
        p = np.exp2(scores - scores.max(axis=1, keepdims=True))
        ref = p @ v / p.sum(axis=1, keepdims=True)
        worst = max(worst, np.linalg.norm(found["y"] / 128 - ref) / np.linalg.norm(ref))
    print(f"relative error at most {worst:.5f}")
    assert worst < 0.006


def test_chain_as_a_tree_equals_causal_attention():
    rng = np.random.default_rng(8)
    options = {"lanes": 8, "chunk_rows": 8, **INT8, "heads": 1, "causal": True, "o_format": OutputFormat.INT16}
    group = random_group(rng, 20, 50, 8, *INT8.values(), position=30)
    tree = cached(group, cut(group, 8, [0]), tree=tuple((2 << row) - 1 for row in range(20)))
    plain = attention(group, window=0, **options)
    found = cached_attention(tree, window=0, **options)
    assert_same((found["y"], found["lse"]), (plain["y"], plain["lse"]))
    # A key of the step past the 64th place is never seen.
    far = replace(tree, segments=cut(random_group(rng, 1, 120, 8, *INT8.values()), 8, [0]), tree=(ALL_ROWS,) * 20)
    assert keys_seen(far, 0, 88, 16, heads=1, causal=True, window=0).sum(axis=1).tolist() == [6] * 20


def test_cells_in_any_order():
    """Keys permuted within each page, with free cells between: the same sums, and so the same bits, as plain attention
    over the tokens in order wherever pages hold the same tokens."""
    rng = np.random.default_rng(9)
    for causal, window in ((True, 0), (True, 9), (False, 9), (False, 0)):
        options = {"lanes": 8, "chunk_rows": 4, **INT8, "heads": 2, "causal": causal, "window": window,
                   "o_format": OutputFormat.INT16}
        group = random_group(rng, 12, 40, 16, *INT8.values(), position=34)
        order = np.concatenate([8 * page + rng.permutation(8) for page in range(5)])
        cells = cached(group, [Segment(group.k_codes[order], group.v_codes[order])], cells=order)
        plain, found = attention(group, **options), cached_attention(cells, **options)
        assert_same(found["partial"], plain["partial"])
        assert_same((found["y"], found["lse"]), (plain["y"], plain["lse"]))
        # A free cell is as if its key were not there.
        holes = np.where(order % 5 == 2, -1, order)
        k = group.k_codes.copy()
        k[order[order % 5 == 2]] ^= 0x5a
        first = cached_attention(replace(cells, cells=holes), **options)
        other = cached_attention(replace(cells, cells=holes, segments=[Segment(k[order], group.v_codes[order])]),
                                 **options)
        assert_same(first["partial"], other["partial"])
        assert (first["partial"].l != found["partial"].l).any()


def test_rows_without_a_key():
    """No bit, nothing before the first position, or no token in any cell: empty results, and no page."""
    rng = np.random.default_rng(10)
    group = random_group(rng, 6, 20, 8, *INT8.values(), position=-4)
    options = {"lanes": 8, **INT8, "heads": 1, "causal": True, "window": 0}
    masks = {name: options[name] for name in ("lanes", "heads", "causal", "window")}
    before = cached(group, cut(group, 8, [0]))
    unnamed = cached(group, cut(group, 8, [0], ALL_ROWS << 6 & ALL_ROWS), position=30)
    free = cached(group, cut(group, 8, [0]), position=30, cells=np.full(20, -1))
    for case, empty, met in ((before, 4, [0, 0, 1]), (unnamed, 6, [0, 0, 0]), (free, 6, [1, 1, 1])):
        found = cached_attention(case, chunk_rows=2, **options, o_format=OutputFormat.INT16)
        assert (found["lse"][:empty] == LSE_EMPTY).all() and not found["y"][:empty].any()
        assert (found["lse"][empty:] > LSE_EMPTY).all()
        assert [len(chunk) for chunk in pages_met(case, chunk_rows=2, **masks)] == met


@pytest.mark.parametrize("heads, tokens", [(4, 1), (2, 3)])
def test_score_job_equals_sums_of_the_attention_job(heads, tokens):
    """Over 30 steps with evictions: the sums from one pass with the log-sum-exp at hand, and from a second job that
    computes the scores once more, row by row or all at once."""
    rng = np.random.default_rng(11)
    direct, second = HeavyHitter(30, 14, 8), HeavyHitter(30, 14, 8)
    k, v = rng.integers(0, 256, (2, 30, 8)).astype(np.uint8)
    dropped = filled = 0
    for _ in range(30):
        position = direct.length
        cells = direct.fill(tokens)
        second.fill(tokens)
        k[cells], v[cells] = rng.integers(0, 256, (2, tokens, 8))
        filled = max(filled, max(cells) + 1)
        group = CachedGroup(rng.integers(-2048, 2048, (heads * tokens, 8)), [Segment(k[:filled], v[:filled])],
                            position, 40_000, 24, cells=direct.positions[:filled].copy())
        options = {"lanes": 8, "key_format": LaneFormat.INT8, "heads": heads, "causal": True, "window": 0}
        found = cached_attention(group, chunk_rows=8, value_format=LaneFormat.INT8, o_format=OutputFormat.INT16,
                                 **options)
        scores, seen, tallies = cell_scores(group, chunk_rows=8, **options)
        again = cell_scores(group, chunk_rows=1, **options)
        assert_same((scores, seen), again[:2])
        assert tallies["sat_score"] == found["tallies"]["sat_score"]
        assert np.array_equal(seen, direct.seen(tokens, heads)[:, :filled])
        victims = hitter_step(direct, scores, found["lse"], seen)
        assert hitter_step(second, *again[:1], found["lse"], again[1]) == victims
        assert_same((direct.sums, direct.positions), (second.sums, second.positions))
        dropped += len(victims)
    assert dropped == 30 * tokens - 22
