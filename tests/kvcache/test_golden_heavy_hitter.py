"""The golden heavy-hitter sums: against plain Python, and against float attention in torch."""

import numpy as np
import pytest
import torch
from olivine.attention.descriptor import OutputFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.attention import Group, attention
from olivine_golden.heavy_hitter import SUM_MAX, WEIGHT_ONE, HeavyHitter, weight
from olivine_golden.rounding import rsh, sat


def test_weight():
    """Within one unit of the exact one: half from the table, half from the rounding."""
    d = np.arange(1 << 14)
    error = np.abs(weight(d) - WEIGHT_ONE * 2.0 ** (-d / 256))
    print(f"weight: error at most {error.max():.3f} units of 2**-20")
    assert error.max() < 1 and weight([0, 256, 21 * 256, 22 * 256, 1 << 18]).tolist() == [1 << 20, 1 << 19, 1, 0, 0]
    with pytest.raises(ValueError, match="d is -1: must be 0 or more"):
        weight([-1])
    with pytest.raises(TypeError, match="d must be integers, not float64"):
        weight([0.5])


def add(hitter, *given):
    """Let one row give each cell a sum that is a power of two: weight 2**-n for n of ``given``, None for nothing."""
    scores = np.array([[-256 * n if n is not None else 0 for n in given]])
    hitter.attend_add(scores, np.array([0]), np.array([[n is not None for n in given]]))


def test_victim():
    """The smallest sum that is not recent; of equal ones the oldest; its cell takes the next token."""
    hitter = HeavyHitter(cells=6, heavy=2, recent=2)
    assert hitter.fill(5) == [0, 1, 2, 3, 4]
    add(hitter, 0, 2, 2, 9, 9, None)
    assert hitter.sums.tolist() == [1 << 20, 1 << 18, 1 << 18, 1 << 11, 1 << 11, 0]
    assert hitter.excess == 1 and hitter.drop(1) == [1], "3 and 4 are recent"
    assert hitter.positions.tolist() == [0, -1, 2, 3, 4, -1] and hitter.sums[1] == 0
    assert hitter.fill(2) == [1, 5] and hitter.positions.tolist() == [0, 5, 2, 3, 4, 6]
    add(hitter, None, 3, None, 1, 9, 3)
    assert hitter.drop(2) == [4, 2], "2**12 before 2**18; 0, 3 and the recent 5 and 6 stay"
    assert hitter.cell(3) == 3 and hitter.cell(4) is None and hitter.cell(-1) is None
    assert hitter.length == 7 and hitter.dropped == 3 and hitter.excess == 0


def test_ties_go_by_position_and_not_by_cell():
    hitter = HeavyHitter(cells=4, heavy=1, recent=1)
    hitter.fill(3)
    add(hitter, 4, 0, 0, None)
    assert hitter.drop(1) == [0] and hitter.fill(1) == [0]
    add(hitter, 0, None, None, None)
    assert hitter.positions.tolist() == [3, 1, 2, -1] and len(set(hitter.sums[:3].tolist())) == 1
    assert hitter.fill(1) == [3]
    assert hitter.drop(1) == [1]


def test_score_above_the_log_sum_exp_counts_as_one():
    """Both are rounded, so a lone key's score may lie above."""
    hitter = HeavyHitter(cells=4, heavy=1, recent=1)
    hitter.fill(2)
    hitter.attend_add(np.array([[7, 0, 0, 0]]), np.array([4]), np.array([[True, False, False, False]]))
    assert hitter.sums[0] == WEIGHT_ONE


def test_sums_saturate():
    hitter = HeavyHitter(cells=4, heavy=1, recent=1)
    hitter.fill(3)
    rows = 4095
    visible = np.tile([True, False, False, False], (rows, 1))
    hitter.attend_add(np.zeros((rows, 4), np.int64), np.zeros(rows, np.int64), visible)
    assert hitter.sums[0] == rows << 20
    add(hitter, 0, None, None, None)
    add(hitter, 0, None, None, None)
    assert hitter.sums[0] == SUM_MAX


def test_what_is_refused():
    for arguments, why in (((8, 0, 1), "heavy is 0"), ((8, 1, 0), "recent is 0"), ((8, 4, 4), "cells is 8: must be")):
        with pytest.raises(ValueError, match=why):
            HeavyHitter(*arguments)
    hitter = HeavyHitter(cells=6, heavy=2, recent=2)
    with pytest.raises(ValueError, match="tokens is 7: allowed is 1 to 6"):
        hitter.fill(7)
    hitter.fill(5)
    with pytest.raises(ValueError, match="k is 4: allowed is 0 to 3"):
        hitter.drop(4)
    with pytest.raises(ValueError, match="holds no token"):
        add(hitter, 0, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match=r"must be \(2, 6\)"):
        hitter.attend_add(np.zeros((1, 6), int), np.zeros(2, int), np.zeros((2, 6), bool))
    hitter.drop(1)
    with pytest.raises(ValueError, match="only before the first drop"):
        hitter.truncate(2)


def test_truncate():
    hitter = HeavyHitter(cells=6, heavy=2, recent=2)
    hitter.fill(4)
    add(hitter, 0, 0, 0, 0, None, None)
    hitter.truncate(2)
    assert hitter.positions.tolist() == [0, 1, -1, -1, -1, -1]
    assert hitter.sums.tolist() == [1 << 20, 1 << 20, 0, 0, 0, 0] and hitter.fill(1) == [2]


@pytest.mark.parametrize("heads", [1, 3])
def test_chunks_and_steps_against_plain_python(heads):
    """A prompt in chunks, then single tokens. Plain Python keeps a dictionary from position to sum."""
    rng = np.random.default_rng(heads)
    chunk, big, recent = 6, 7, 4
    hitter, sums, length, evicted = HeavyHitter(chunk + big + recent, big, recent), {}, 0, 0
    table = [round(2 ** 20 * 2 ** (-f / 256)) for f in range(256)]
    for tokens in [6] * 8 + [1] * 200 + [5, 1, 6, 2, 3]:
        cells = hitter.fill(tokens)
        assert all(cell not in {hitter.cell(p) for p in sums} for cell in cells)
        sums.update({length + i: 0 for i in range(tokens)})
        length += tokens
        visible = hitter.seen(tokens, heads)
        scores = rng.integers(-3000, 300, visible.shape)
        lse = rng.integers(-100, 1000, tokens * heads)
        for row, position in np.ndindex(tokens * heads, length):
            if position in sums and position <= length - tokens + row // heads:
                d = max(int(lse[row]) - int(scores[row, hitter.cell(position)]), 0)
                sums[position] += (table[d % 256] * 2 // 2 ** (d // 256) + 1) // 2
        hitter.attend_add(scores, lse, visible)
        dropped, before = hitter.drop(hitter.excess), hitter.positions.copy()
        evicted += len(dropped)
        while len(sums) > big + recent:
            del sums[min((s, p) for p, s in sums.items() if p < length - recent)[1]]
        assert {int(p): int(s) for p, s in zip(before, hitter.sums) if p >= 0} == sums
        assert set(range(length - min(recent, length), length)) <= set(sums)
    assert evicted == hitter.dropped == length - big - recent


D, CELLS, HEAVY, RECENT, HEADS, STEPS = 64, 128, 64, 32, 4, 1000
LN2 = np.log(2)

SCORE_ERROR = 0.5 / 256
LSE_ERROR = 0.012
"""Octaves: a score's rounding, and that of the log-sum-exp as the golden attention computes it
(``tests/attention/test_golden_accuracy.py``)."""

FLOAT_ERROR = 2.0 ** -16
"""Relative, of a probability and its sum in fp32."""


def int8(x):
    return np.clip(np.rint(x), -128, 127).astype(np.int64)


@pytest.mark.parametrize("spread, lean, agreement", [(1.0, 0.0, 0.99), (2.0, 1.0, 0.95)], ids=["random", "drifting"])
def test_victims_of_a_float_reference(spread, lean, agreement):
    """1,000 decode steps on random int8 queries and keys, four query heads to a KV head; scores of a deviation of
    ``spread`` octaves. Torch computes softmax of the same integers in fp32 and adds it up, for the cells that the
    golden model holds. Its victim is the golden one's, or a candidate whose sum lies within the rounding bound.

    Where nothing but chance tells keys apart, sums grow with age and the victim is the token that has just left
    the recent ones. So queries also lean towards a direction that drifts, and keys more or less: then old heavy
    hitters fade and are evicted. And every sum, and the order of all candidates, is judged at every step.

    There the victims agree in 96 % of the steps only. Where they do not, the candidates got next to nothing (sums
    below 0.001), and nearly always their sums are equal as integers, which the older position decides.
    """
    rng = np.random.default_rng(7)
    hitter = HeavyHitter(CELLS, HEAVY, RECENT)
    keys = np.zeros((CELLS, D), np.int64)
    sums = torch.zeros(CELLS, dtype=torch.float32)
    # Scores in octaves are acc * mult / 2**shift / 256; acc has deviation D**0.5 * 40 * 40.
    mult, shift = round(spread * 256 / (D ** 0.5 * 1600) * 2 ** 18), 18
    # Each sum is off by its terms' relative errors, and a unit of 2**-20 for every row that it saw.
    relative = 2 ** (SCORE_ERROR + LSE_ERROR) - 1 + FLOAT_ERROR
    axes = rng.choice([-1, 1], (2, D)) * 40
    same = steps = newest = pairs = ordered = ties = most = 0
    worst_gap = worst_share = worst_error = 0.0
    for step in range(STEPS + HEAVY + RECENT):
        toward = lean * np.array([np.cos(step / 100), np.sin(step / 100)]) @ axes
        cell, = hitter.fill(1)
        keys[cell] = int8(rng.normal(size=D) * 40 + rng.normal() * toward)
        sums[cell] = 0
        q = int8(rng.normal(size=(HEADS, D)) * 40 + toward)
        used = hitter.used
        # Without a prompt's holes the cells in use are the first ones, as the attention job wants its keys.
        assert (hitter.positions[:used] >= 0).all()
        codes = keys[:used].astype(np.int8).view(np.uint8)
        lse = attention(Group(q, codes, codes, position=0, score_mult=mult, score_shift=shift), lanes=64,
                        chunk_rows=HEADS, key_format=LaneFormat.INT8, value_format=LaneFormat.INT8, heads=HEADS,
                        causal=False, window=0, o_format=OutputFormat.INT16)["lse"]
        hitter.attend_add(sat(rsh(q @ keys.T * mult, shift), 16), lse, hitter.seen(1, HEADS))
        logits = torch.tensor(q, dtype=torch.float32) @ torch.tensor(keys[:used], dtype=torch.float32).T
        sums[:used] += torch.softmax(logits * (mult / 2 ** shift / 256 * LN2), dim=1).sum(dim=0)
        floats = sums.numpy().astype(np.float64)
        bounds = relative * floats + (hitter.length - hitter.positions) * HEADS / WEIGHT_ONE
        share = (np.abs(hitter.sums / WEIGHT_ONE - floats) / bounds)[:used].max()
        assert share < 1, f"step {step}: a sum is off by {share} of its bound"
        worst_error = max(worst_error, share)
        if not hitter.excess:
            continue
        older = np.flatnonzero((hitter.positions >= 0) & (hitter.positions < hitter.length - RECENT))
        wanted = int(older[int(torch.argmin(sums[older]))])
        order = older[np.argsort(hitter.sums[older], kind="stable")]
        gaps = floats[order[:-1]] - floats[order[1:]]
        pairs, ordered = pairs + len(gaps), ordered + int((gaps <= 0).sum())
        assert (gaps < bounds[order[:-1]] + bounds[order[1:]]).all(), f"step {step}: candidates out of order"
        before, units = hitter.positions.copy(), hitter.sums.copy()
        victim, = hitter.drop(1)
        steps += 1
        same += victim == wanted
        newest += before[victim] == before[older].max()
        if victim != wanted:
            gap, bound = floats[victim] - floats[wanted], bounds[victim] + bounds[wanted]
            assert 0 <= gap < bound, f"step {step}: the sums differ by {gap}, bound {bound}"
            ties += units[victim] == units[wanted]
            most = max(most, int(units[wanted]))
            worst_gap, worst_share = max(worst_gap, gap), max(worst_share, gap / bound)
    print(f"same victim in {same} of {steps} steps ({newest} had just left the recent ones); elsewhere the sums "
          f"differ by at most {worst_gap:.6f}, {worst_share:.3f} of the bound; {ties} of these are equal as integers, "
          f"none is above {most} units of 2**-20; {ordered / pairs:.5f} of neighbours in the same order; "
          f"a sum is off by at most {worst_error:.3f} of its bound")
    assert steps == STEPS and same >= agreement * STEPS
    assert not lean or newest < 0.92 * STEPS, "the data make the victim obvious"
