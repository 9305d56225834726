"""The golden model of attention: against plain integers, and what must not change a bit."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from olivine.attention.descriptor import OutputFormat
from olivine.olive.formats import LaneFormat
from olivine_golden import exp2, log2
from olivine_golden.attention import LSE_EMPTY, Group, Partial, attend, attention, finish, merge, pages_seen
from olivine_golden.ovp import pair_terms
from olivine_golden.reciprocal import BASE, SLOPE

INT8 = {"key_format": LaneFormat.INT8, "value_format": LaneFormat.INT8}
PLAIN = {**INT8, "heads": 1, "causal": False, "window": 0}
FINISHED = [OutputFormat.INT8, OutputFormat.INT12, OutputFormat.INT16]


def random_group(rng, rows, keys, d, key_format, value_format, position=0, reach=2048, **numbers):
    """Random codes of the formats and queries of up to ``reach`` in magnitude."""
    codes = [rng.integers(0, 1 << fmt.bits, (keys, d)).astype(np.uint8) for fmt in (key_format, value_format)]
    q = rng.integers(-reach, reach, (rows, d)).astype(np.int16)
    return Group(q, *codes, position=position, **{"score_mult": 40_000, "score_shift": 26, **numbers})


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a, b)


# One row at a time, one key at a time, in Python's integers: nothing here comes from the model.


def slow_rsh(x, n):
    return (2 * x + (1 << n)) // (2 << n)


def slow_sat(x, bits):
    return min(max(x, -(1 << bits - 1)), (1 << bits - 1) - 1)


def slow_decode(codes, fmt):
    """Elements of one key, and its illegal bytes."""
    if fmt is LaneFormat.INT8:
        return [code - 256 if code > 127 else code for code in codes], 0
    pairs = [pair_terms(16 * high + low, fmt) for high, low in zip(codes[0::2], codes[1::2])]
    return ([integer << exponent for *terms, _ in pairs for exponent, integer in terms],
            sum(illegal for *_, illegal in pairs))


def slow_merge(m, l, o, part):  # noqa: E741
    m_part, l_part, o_part = part
    greater = max(m, m_part)
    old, new = min(greater - m, 63), min(greater - m_part, 63)
    return (greater, slow_rsh(l, old) + slow_rsh(l_part, new),
            [slow_rsh(a, old) + slow_rsh(b, new) for a, b in zip(o, o_part)])


def slow_finish(m, l, o, o_mult, o_shift, bits):  # noqa: E741
    """Results, log-sum-exp and saturations of one row."""
    if l == 0:
        return [0] * len(o), -131072, 0
    exponent = l.bit_length() - 1
    fraction = (l << 31 - exponent) - (1 << 31)
    line, along = fraction >> 23, fraction >> 11 & 4095
    reciprocal = slow_rsh(int(BASE[line]) * 4096 - int(SLOPE[line]) * along, 16)
    factor = slow_rsh(reciprocal * (o_mult or 65536), 16)
    y, saturated = [], 0
    for value in o:
        x = slow_rsh(value, max(exponent - 15, 0))
        result = slow_rsh(slow_sat(x, 25) * factor, o_shift)
        y.append(slow_sat(result, bits))
        saturated += not (-(1 << 24) <= x < 1 << 24 and y[-1] == result)
    return y, 256 * m + 256 * exponent + int(log2.TABLE[fraction >> 21]) - 4096, saturated


def slow_attention(group, lanes, chunk_rows, key_format, value_format, heads, causal, window, bits):
    """As `attention`, over all pages of every row."""
    keys = [slow_decode(codes, key_format) for codes in group.k_codes.tolist()]
    values = [slow_decode(codes, value_format) for codes in group.v_codes.tolist()]
    tallies = dict.fromkeys(("sat_row", "sat_score", "illegal", "sat_output"), 0)
    seen_by, states, results = [], [], []
    for row, q in enumerate(group.q.tolist()):
        at = group.position + row // heads
        seen = [j for j in range(len(keys)) if (j <= at or not causal) and (window == 0 or j > at - window)]
        tallies["sat_row"] += sum(not -2048 <= value <= 2047 for value in q)
        q = [slow_sat(value, 12) for value in q]
        state = -128, 0, [0] * len(q)
        for first in range(0, len(keys), lanes):
            scores = {}
            for j in seen:
                if first <= j < first + lanes:
                    score = slow_rsh(sum(map(int.__mul__, q, keys[j][0])) * group.score_mult, group.score_shift)
                    scores[j] = slow_sat(score, 16)
                    tallies["sat_score"] += scores[j] != score
            m = max([(score + 255) // 256 for score in scores.values()], default=-128)
            p = {j: slow_rsh(int(exp2.TABLE[(256 * m - s) % 256]), (256 * m - s) // 256 + 5)
                 for j, s in scores.items()}
            part = [32 * sum(p[j] * values[j][0][i] for j in p) for i in range(len(q))]
            state = slow_merge(*state, (m, 32 * sum(p.values()), part))
        *result, saturated = slow_finish(*state, group.o_mult, group.o_shift, bits)
        tallies["sat_output"] += saturated
        states.append(state)
        results.append(result)
        seen_by.append(seen)
    for first in range(0, len(seen_by), chunk_rows):
        if chunk := [j for seen in seen_by[first:first + chunk_rows] for j in seen]:
            for j in range(min(chunk) // lanes * lanes, max(chunk) + 1):
                tallies["illegal"] += keys[j][1] + values[j][1]
    return states, results, tallies


def test_equals_plain_integers():
    rng = np.random.default_rng(1)
    total, empty = dict.fromkeys(("sat_row", "sat_score", "illegal", "sat_output"), 0), 0
    for key_format, value_format, o_format in [*product(LaneFormat, LaneFormat, FINISHED)] * 4:
        heads = int(rng.integers(1, 5))
        options = {"lanes": int(rng.choice([2, 4, 8])), "chunk_rows": int(rng.integers(1, 10)),
                   "key_format": key_format, "value_format": value_format, "heads": heads,
                   "causal": bool(rng.integers(2)), "window": int(rng.choice([0, 0, 1, 2, 7, 20]))}
        group = random_group(
            rng, heads * int(rng.integers(1, 4)), int(rng.integers(0, 28)), int(rng.choice([2, 6, 8])), key_format,
            value_format, position=int(rng.integers(-4, 30)), reach=int(rng.choice([30, 2048, 2200])),
            score_mult=int(rng.integers(1 << 16)), score_shift=int(rng.choice([0, 8, 12, 16, 20, 63])),
            o_mult=int(rng.choice([0, 1, 30_000, 65_535])), o_shift=int(rng.choice([0, 16, 24, 25, 30, 63])))
        found = attention(group, **options, o_format=o_format)
        states, results, tallies = slow_attention(group, **options, bits=o_format.bits)
        assert found["tallies"] == tallies
        assert_same(found["partial"], map(list, zip(*states)))
        assert_same((found["y"], found["lse"]), map(list, zip(*results)))
        total = {name: total[name] + tallies[name] for name in total}
        empty += int((found["partial"].l == 0).sum())
    assert all(total.values()) and empty, f"{total}, {empty} empty rows: something never happened"


@pytest.mark.parametrize("o_format", FINISHED)
def test_any_state_merges_and_finishes_as_plain_integers(o_format):
    """Also states that no keys lead to, but that a merge job may find in memory: all widths, all distances."""
    rng = np.random.default_rng(3)
    rows, over = 400, 0
    for o_mult, o_shift in ((0, 25), (65_535, 30), (1, 0), (33_000, 40)):
        parts = []
        for _ in range(2):
            m, o_bits, l_bits = rng.integers(-128, 129, rows), rng.integers(1, 38, rows), rng.integers(1, 32, rows)
            l = rng.integers(1, 1 << l_bits)  # noqa: E741
            o = rng.integers(-(1 << o_bits), 1 << o_bits, (3, rows)).T
            empty = rng.random(rows) < 0.2
            m[empty], l[empty], o[empty] = -128, 0, 0
            parts.append(Partial(m, l, o))
        merged = merge(parts)
        y, lse, saturated = finish(merged, o_mult, o_shift, o_format)
        count = 0
        for row in range(rows):
            state = -128, 0, [0] * 3
            for part in parts:
                state = slow_merge(*state, [field[row].tolist() for field in part])
            assert_same([field[row] for field in merged], state)
            *result, row_count = slow_finish(*state, o_mult, o_shift, o_format.bits)
            assert_same((y[row], lse[row]), result)
            count += row_count
            over += any(abs(value) >> max(state[1].bit_length() - 16, 0) >> 24 for value in state[2])
        assert saturated == count
    assert over, "no numerator was beyond 25 bits"


def test_by_hand():
    """Scores 1, 0, 3 in two pages of two keys: weights 2047 and 1024, then 2047 while the former shift by 2."""
    k, v = (np.array(codes, np.int8).view(np.uint8)
            for codes in ([[1, 0], [0, 0], [3, 0]], [[10, -3], [20, 5], [-7, 100]]))
    group = Group(np.array([[1, 0]]), k, v, position=0, score_mult=256, score_shift=0)
    partial, tallies = attend(group, lanes=2, **PLAIN)
    assert_same(partial, ([3], [24_568 + 65_504], [[327_600 - 458_528, -8_168 + 6_550_400]]))
    assert tallies == {"sat_row": 0, "sat_score": 0, "illegal": 0}
    # O / l * 128 is -186.06, 9297.07; log2(90072) is 16.4588.
    assert_same(finish(partial, 0, 25, OutputFormat.INT16), ([[-186, 9297]], [768 + 4213 - 4096], 0))
    assert_same(finish(partial, 0, 25, OutputFormat.INT8)[::2], ([[-128, 127]], 2))
    # Without fractional bits and times 3/4: -1.09, 54.48.
    assert_same(finish(partial, 49_152, 32, OutputFormat.INT8)[::2], ([[-1, 54]], 0))


def test_pages_seen():
    """Exactly the pages of which a row of the chunk sees a key."""
    cases = product((0, 1, 7, 8, 9, 24), (1, 2, 3), (False, True), (0, 1, 5, 9), (-9, -1, 0, 3, 8, 20, 40), (1, 4, 7))
    for keys, heads, causal, window, position, chunk_rows in cases:
        rows = 6 * heads
        t = position + np.arange(rows)[:, None] // heads
        j = np.arange(keys)
        seen = ((j <= t) | (not causal)) & ((j > t - window) | (window == 0))
        found = pages_seen(keys, rows, heads, causal, window, position, 8, chunk_rows)
        for chunk, pages in enumerate(found):
            sees = np.flatnonzero(seen[chunk * chunk_rows:(chunk + 1) * chunk_rows].any(axis=0))
            assert pages == ((sees[0] // 8, sees[-1] // 8 + 1, sees[-1] % 8 + 1) if len(sees) else (0, 0, 0))
        assert len(found) == -(-rows // chunk_rows)


def test_illegal_bytes_count_by_chunk_and_page():
    """Key 5 holds one illegal byte in its key and two in its value; pages of 4 keys."""
    group = random_group(np.random.default_rng(2), 8, 12, 4, LaneFormat.INT4, LaneFormat.INT4)
    k, v = np.zeros((2, 12, 4), np.uint8)
    k[5, :2], v[5] = (8, 0), (8, 8, 0, 8)
    group = replace(group, k_codes=k, v_codes=v)

    def illegal(position, chunk_rows, window=0, fmt=LaneFormat.OVP4_INT):
        return attention(replace(group, position=position), lanes=4, chunk_rows=chunk_rows, key_format=fmt,
                         value_format=fmt, heads=2, causal=True, window=window,
                         o_format=OutputFormat.PARTIAL)["tallies"]["illegal"]

    assert illegal(5, 8) == 3 and illegal(5, 4) == 6 and illegal(5, 3) == 9
    assert illegal(1, 8) == 0 and illegal(2, 8) == 3        # keys up to 4, up to 5
    assert illegal(7, 8, window=1) == 3 and illegal(8, 8, window=1) == 0    # pages from 4, from 8
    assert illegal(5, 8, fmt=LaneFormat.INT4) == 0


# What must not change a bit.


def test_rows_that_see_no_key():
    """Queries before the first key, past the window's last, and of no keys at all."""
    rng = np.random.default_rng(6)
    for position, keys, causal, window, empty in ((-3, 20, True, 0, 3), (27, 20, True, 10, 3), (28, 20, False, 10, 4),
                                                  (0, 0, False, 0, 5)):
        group = random_group(rng, 5, keys, 8, **INT8, position=position)
        found = attention(group, lanes=8, chunk_rows=2, **INT8, heads=1, causal=causal, window=window,
                          o_format=OutputFormat.INT16)
        none = found["lse"] == LSE_EMPTY
        assert none.sum() == empty and LSE_EMPTY == -2**17
        assert not found["y"][none].any() and (found["partial"].m[none] == -128).all()
        assert not found["partial"].o[none].any() and (found["partial"].l[~none] >= 1026 << 5).all()


def test_pages_that_no_row_sees_change_nothing():
    """Other keys there, or none: the same bits."""
    rng = np.random.default_rng(7)
    options = {"lanes": 8, **INT8, "heads": 2, "causal": True, "window": 19}
    group = random_group(rng, 6, 100, 8, **INT8, position=60)      # sees keys 42 to 62: pages 5 to 7
    whole, _ = attend(group, **options)
    other = random_group(rng, 6, 100, 8, **INT8)
    unseen = np.r_[:42, 63:100]
    k, v = group.k_codes.copy(), group.v_codes.copy()
    k[unseen], v[unseen] = other.k_codes[unseen], other.v_codes[unseen]
    assert_same(whole, attend(replace(group, k_codes=k, v_codes=v), **options)[0])
    short = replace(group, k_codes=group.k_codes[40:64], v_codes=group.v_codes[40:64], position=20)
    assert_same(whole, attend(short, **options)[0])
    k[42] ^= 0x55
    assert (attend(replace(group, k_codes=k), **options)[0].l != whole.l).any()


@pytest.mark.parametrize("causal, window", [(False, 0), (True, 0), (True, 11), (False, 11)])
def test_any_split_of_the_rows_gives_the_same_bits(causal, window):
    options = {"lanes": 8, "key_format": LaneFormat.OVP4_FLINT, "value_format": LaneFormat.OVP4_INT, "heads": 3,
               "causal": causal, "window": window}
    formats = options["key_format"], options["value_format"]
    group = random_group(np.random.default_rng(8), 60, 50, 16, *formats, position=30)
    whole, tallies = attend(group, **options)
    for chunk_rows in (1, 2, 3, 7, 8, 32, 59, 60, 1000):
        found = attention(group, chunk_rows=chunk_rows, **options, o_format=OutputFormat.PARTIAL)
        assert_same(found["partial"], whole)
        assert found["y"] is None and found["tallies"]["sat_score"] == tallies["sat_score"]
    for token in (1, 7, 19):
        parts = [attend(replace(group, q=q, position=position), **options)[0]
                 for q, position in ((group.q[:3 * token], 30), (group.q[3 * token:], 30 + token))]
        assert_same(Partial(*map(np.concatenate, zip(*parts))), whole)


@pytest.mark.parametrize("causal, window", [(False, 0), (True, 0), (True, 300)])
def test_parts_of_the_keys_merge_into_the_whole(causal, window):
    """Exactly as a merge written by hand, in the order given; within 1 step at 7 fractional bits, 1 of the
    log-sum-exp, of the keys taken at once."""
    options = {"lanes": 16, **INT8, "heads": 4, "causal": causal, "window": window}
    worst = worst_lse = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        group = random_group(rng, 40, 700, 32, **INT8, position=670, score_shift=24 - seed)
        whole, tallies = attend(group, **options)
        cuts = [0, *sorted(16 * rng.choice(np.arange(1, 43), 3 + seed, replace=False)), 700]
        parts, counts = zip(*(
            attend(replace(group, k_codes=group.k_codes[first:end], v_codes=group.v_codes[first:end],
                           position=670 - first), **options) for first, end in zip(cuts, cuts[1:])))
        assert sum(count["sat_score"] for count in counts) == tallies["sat_score"]
        assert_same(merge([whole]), whole)
        for order in (range(len(parts)), range(len(parts))[::-1]):
            merged = merge(parts[i] for i in order)
            for row in range(40):
                state = -128, 0, [0] * 32
                for i in order:
                    state = slow_merge(*state, [field[row].tolist() for field in parts[i]])
                assert_same([field[row] for field in merged], state)
            (y, lse, _), (y_whole, lse_whole, _) = (finish(x, 0, 25, OutputFormat.INT16) for x in (merged, whole))
            worst, worst_lse = max(worst, np.abs(y - y_whole).max()), max(worst_lse, np.abs(lse - lse_whole).max())
    print(f"merged: {worst} of 1/128 steps, log-sum-exp {worst_lse}/256")
    assert worst <= 1 and worst_lse <= 1


def test_longest_sequence_of_largest_values_fits():
    """32,768 keys at the maximum, values 192: O takes 39 bits, and the mean is exact."""
    v = np.tile(np.array([7, 8], np.uint8), (32_768, 4))
    group = Group(np.zeros((1, 8), np.int8), v, v, position=0, score_mult=0, score_shift=0)
    found = attention(group, lanes=256, chunk_rows=1, key_format=LaneFormat.OVP4_FLINT,
                      value_format=LaneFormat.OVP4_FLINT, heads=1, causal=False, window=0, o_format=OutputFormat.INT16)
    assert found["partial"].o.max() == 32_768 * (2047 << 5) * 192 > 1 << 38
    assert found["y"].tolist() == [[192 * 128, 0] * 4] and found["lse"] == [15 * 256]
    assert not any(found["tallies"].values())
    with pytest.raises(OverflowError, match="more keys than 32 and 40 bits hold"):
        merge([found["partial"]] * 2)


def group_with(**changes):
    codes = np.zeros((3, 4), np.uint8)
    return Group(**{"q": np.zeros((2, 4), np.int8), "k_codes": codes, "v_codes": codes, "position": 0,
                    "score_mult": 1, "score_shift": 0, **changes})


@pytest.mark.parametrize("changes, message", [
    ({"q": np.zeros((2, 4))}, r"q is float64\(2, 4\): must be a signed integer array \[R, d\]"),
    ({"v_codes": np.zeros((4, 4), np.uint8)}, r"v_codes is uint8\(4, 4\): must be uint8\(3, 4\)"),
    ({"k_codes": np.zeros((3, 4), np.int8)}, r"k_codes is int8\(3, 4\): must be uint8\(3, 4\)"),
    ({"score_mult": 65_536}, "score_mult is 65536: allowed is 0 to 65535"),
    ({"o_shift": 64}, "o_shift is 64: allowed is 0 to 63"),
])
def test_group_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        group_with(**changes)


def test_refusals():
    ints = {"lanes": 2, "key_format": LaneFormat.INT4, "value_format": LaneFormat.INT4, "heads": 1, "causal": False,
            "window": 0}
    with pytest.raises(ValueError, match="a code of 16 is no nibble: INT4 codes are 0 to 15"):
        attend(group_with(k_codes=np.full((3, 4), 16, np.uint8)), **ints)
    with pytest.raises(ValueError, match="heads is 0, window 0: heads must be 1 or more"):
        attend(group_with(), **{**ints, "heads": 0})
    with pytest.raises(ValueError, match="chunk_rows is 0: must be 1 or more"):
        attention(group_with(), chunk_rows=0, o_format=OutputFormat.INT8, **ints)
    with pytest.raises(ValueError, match="o_format is PARTIAL: partial results are not finished"):
        finish(attend(group_with(), **ints)[0], 0, 25, OutputFormat.PARTIAL)
    with pytest.raises(ValueError, match="partials is empty: must hold one partial result or more"):
        merge([])
