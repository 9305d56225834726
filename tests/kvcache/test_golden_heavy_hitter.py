"""The golden heavy-hitter sums: against plain Python, and their victims against H2O in float."""

import numpy as np
import pytest
import torch
from olivine.attention.descriptor import OutputFormat
from olivine.config import PRESETS
from olivine.olive.formats import LaneFormat
from olivine_golden.attention import Group, attention
from olivine_golden.heavy_hitter import SUM_MAX, WEIGHT_ONE, HeavyHitter, weight
from olivine_golden.rounding import rsh, sat
from olivine_host.backends import GoldenBackend
from olivine_host.cache_demo.data import TEXT, causal_layer, logit_scale
from olivine_host.cache_demo.policies import budget, heavy_hitters
from olivine_host.cache_demo.reference import LSE_ERROR, RELATIVE, SCORE_ERROR, UNIT, VictimComparison
from olivine_host.minilm.model import load

# Tests run one process a core; threads on top of that only get in each other's way.
torch.set_num_threads(1)


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
AGREEMENT = 0.99


def int8(x):
    return np.clip(np.rint(x), -128, 127).astype(np.int64)


def report(what, comparisons):
    """Print the figures, assert what is promised of every step, and give the share of equal victims."""
    def total(name):
        return sum(getattr(one, name) for one in comparisons)

    def worst(name):
        return max(getattr(one, name) for one in comparisons)

    steps, same = total("steps"), total("same")
    gaps = [pair for one in comparisons for pair in one.gaps]
    print(f"{what}: same victim in {same} of {steps} steps ({total('newest')} had just left the recent ones); in the "
          f"{len(gaps)} others ({total('ties')} equal as integers) sums differ by at most "
          f"{max((gap for gap, _ in gaps), default=0):.2e}, {max((gap / bound for gap, bound in gaps), default=0):.3f} "
          f"of the bound; {total('ordered') / max(total('pairs'), 1):.5f} of neighbours in the same order, elsewhere "
          f"at most {worst('worst_pair'):.3f} of the bound. Beside sums of its own {total('same_alone')} agree, and a "
          f"sum is off by at most {worst('worst_sum'):.2f} of its bound. Log-sum-exp off by {worst('worst_lse'):.4f}")
    assert steps >= STEPS and same + len(gaps) == steps
    assert all(0 <= gap < bound for gap, bound in gaps), "a victim is not explained by rounding"
    assert worst("worst_pair") < 1, "candidates are in an order that rounding does not explain"
    assert worst("worst_sum") < 1, "a sum is off by more than rounding"
    assert worst("worst_lse") < LSE_ERROR + SCORE_ERROR, "the bounds assume less"
    return same / steps


@pytest.mark.parametrize("spread, lean, agreement", [(1.0, 0.0, AGREEMENT), (0.5, 1.0, AGREEMENT), (2.0, 1.0, 0.95)],
                         ids=["random", "drifting", "sharp"])
def test_victims_on_random_data(spread, lean, agreement):
    """1,000 decode steps on random int8 queries and keys, four query heads to a KV head; scores of a deviation of
    ``spread`` octaves. H2O in float takes the golden model's sums before the step and drops the same key.

    Where nothing but chance tells keys apart, sums grow with age and the victim is the token that has just left
    the recent ones. So queries also lean towards a direction that drifts, and keys more or less: then old heavy
    hitters fade and are evicted. And the order of all candidates is judged at every step.

    Where scores spread over tens of octaves, many keys get next to nothing: sums of a few units of 2**-20, equal as
    integers and less than a unit apart in float. There the older position decides, and 96 % agree.
    """
    rng = np.random.default_rng(7)
    hitter, comparison = HeavyHitter(CELLS, HEAVY, RECENT), VictimComparison(CELLS, RECENT)
    keys = np.zeros((CELLS, D), np.int64)
    # Scores in octaves are acc * mult / 2**shift / 256; acc has deviation D**0.5 * 40 * 40.
    mult, shift = round(spread * 256 / (D ** 0.5 * 1600) * 2 ** 18), 18
    axes = rng.choice([-1, 1], (2, D)) * 40
    for step in range(STEPS + HEAVY + RECENT):
        toward = lean * np.array([np.cos(step / 100), np.sin(step / 100)]) @ axes
        cell, = hitter.fill(1)
        keys[cell] = int8(rng.normal(size=D) * 40 + rng.normal() * toward)
        q = int8(rng.normal(size=(HEADS, D)) * 40 + toward)
        used = hitter.used
        # Without a prompt's holes the cells in use are the first ones, as the attention job wants its keys.
        assert (hitter.positions[:used] >= 0).all()
        codes = keys[:used].astype(np.int8).view(np.uint8)
        group = Group(q, codes, codes, position=0, score_mult=mult, score_shift=shift)
        lse = attention(group, lanes=64, chunk_rows=HEADS, key_format=LaneFormat.INT8, value_format=LaneFormat.INT8,
                        heads=HEADS, causal=False, window=0, o_format=OutputFormat.INT16)["lse"]
        before, positions = hitter.sums.copy(), hitter.positions.copy()
        hitter.attend_add(sat(rsh(q @ keys.T * mult, shift), 16), lse, hitter.seen(1, HEADS))
        after = hitter.sums.copy()
        victim = next(iter(hitter.drop(hitter.excess)), None)
        comparison.judge(before, after, positions, q @ keys.T * logit_scale(group), lse, victim)
    same = report(f"spread {spread}, lean {lean}", [comparison])
    assert comparison.steps == STEPS and same >= agreement
    assert not lean or comparison.newest < 0.95 * STEPS, "the data make the victim obvious"
    if agreement < AGREEMENT:
        assert all(gap < HEADS * UNIT for gap, _ in comparison.gaps), "more than the rounding of weights"


@pytest.mark.parametrize("index", [
    pytest.param(index, marks=[] if index == 2 else pytest.mark.slow) for index in range(6)])
def test_victims_on_real_text(index):
    """All heads of a layer of MiniLM over 340 tokens of text, one by one, with a cache of 20 %: over 3,000 victims."""
    try:
        model = load()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    layer = causal_layer(model, TEXT, index)
    heavy, recent = budget(len(layer.tokens), 0.2)
    assert (heavy, recent) == (33, 34)
    run = heavy_hitters(layer, GoldenBackend(PRESETS["edge"]), heavy, recent)
    same = report(f"MiniLM, layer {index}", run.comparisons)
    assert len(run.comparisons) == 12 and same >= AGREEMENT


class TestComparison:
    """The float step itself, on numbers that can be seen through."""

    POSITIONS = np.array([4, 1, 2, 3, 0])

    def judge(self, units, victim, logits=(0,) * 5):
        """One step after the ``units`` [cells] so far; the weights added are the exact ones."""
        comparison = VictimComparison(5, recent=2)
        p = np.exp(logits) / np.exp(logits).sum()
        lse = np.rint(np.log2(np.exp(logits).sum()) * 256).astype(int).reshape(1)
        comparison.judge(np.array(units), np.array(units) + np.rint(p / UNIT).astype(int), self.POSITIONS,
                         np.array([logits]), lse, victim)
        return comparison

    def test_drops_the_smallest_that_is_not_recent(self):
        comparison = self.judge([0, 7 << 20, 5 << 20, 0, 6 << 20], 2)
        assert (comparison.steps, comparison.same, comparison.newest, comparison.gaps) == (1, 1, 1, [])
        assert comparison.pairs == comparison.ordered == 2 and comparison.worst_pair == 0

    def test_of_equal_sums_the_oldest(self):
        assert self.judge([0, 5 << 20, 5 << 20, 0, 5 << 20], 4).same == 1
        other = self.judge([0, 5 << 20, 5 << 20, 0, 5 << 20], 1)
        assert other.same == 0 and other.gaps[0][0] == 0

    def test_own_probabilities_count(self):
        """Key 1 is behind by 0.1, and gets more than that."""
        units = [0, 5 << 20, round(5.1 * 2 ** 20), 0, 9 << 20]
        assert self.judge(units, 1).same == 1
        assert self.judge(units, 2, (0, 2, 0, 0, 0)).same == 1

    def test_gap_and_bound(self):
        """Five keys of equal probability: a bound of 0.2 of RELATIVE and a unit, twice."""
        comparison = self.judge([0, 5 << 20, (5 << 20) + 3, 0, 9 << 20], 2)
        (gap, bound), = comparison.gaps
        assert gap == pytest.approx(3 * UNIT) and bound == pytest.approx(2 * (0.2 * RELATIVE + UNIT), rel=1e-5)
        assert 0.0103 < RELATIVE < 0.0112

    def test_a_wrong_victim_is_beyond_its_bound(self):
        (gap, bound), = self.judge([0, 5 << 20, 6 << 20, 0, 9 << 20], 2).gaps
        assert gap > bound

    def test_sums_of_its_own(self):
        """They start at 0 whatever the golden ones are, and a dropped key's do not stay."""
        comparison = VictimComparison(5, recent=2)
        fifth = np.full(5, round(0.2 / UNIT))
        lse = np.array([round(256 * np.log2(5))])
        comparison.judge(0 * fifth, fifth, self.POSITIONS, np.zeros((1, 5)), lse, 4)
        assert comparison.same_alone == 1 and comparison.worst_sum < 0.01
        comparison.judge(0 * fifth, 2 * fifth, self.POSITIONS, np.zeros((1, 5)), lse, 4)
        assert comparison.worst_sum == pytest.approx(0.2 / (0.2 * RELATIVE + UNIT), rel=1e-3), "cell 4 began anew"
