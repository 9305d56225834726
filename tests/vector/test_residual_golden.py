"""Golden model of the residual stream: by hand, and within half a step of exact arithmetic."""

import numpy as np
from olivine_golden.vector import add, requantize


def test_sum_is_within_half_a_step():
    rng = np.random.default_rng(1)
    residual, x = rng.integers(-1 << 22, 1 << 22, 5000), rng.integers(-1 << 15, 1 << 15, 5000)
    mult, shift = rng.integers(0, 1 << 16, 5000), rng.integers(8, 30, 5000)
    result, *saturated = add(residual, x, mult, shift)
    exact = residual + x * mult / 2.0 ** shift
    inside = ~saturated[1]
    assert np.abs(result - exact)[inside].max() <= 0.5 and not saturated[0].any() and (~inside).any()
    assert (result[~inside] == np.where(exact > 0, (1 << 23) - 1, -1 << 23)[~inside]).all()


def test_requantization_is_within_half_a_step():
    rng = np.random.default_rng(2)
    residual = rng.integers(-1 << 23, 1 << 23, 5000)
    for bits, shift in ((8, 30), (12, 26)):
        y, saturated = requantize(residual, 40_000, shift, bits)
        assert np.abs(y - residual * 40_000 / 2.0 ** shift)[~saturated].max() <= 0.5
        assert saturated.any() and np.abs(y[saturated] + 0.5).min() == (1 << bits - 1) - 0.5


def test_by_hand():
    result, operand, total = add([0, 0, (1 << 23) - 2, -1 << 23, 5], [3, -3, 2, -1, 1 << 39], 1, [1, 1, 0, 0, 20])
    assert result.tolist() == [2, -1, (1 << 23) - 1, -1 << 23, 5 + (1 << 15)]
    assert operand.tolist() == [False] * 4 + [True] and total.tolist() == [False, False, True, True, False]
    assert requantize([8, -8, 4096, -4097], 8, 4, 12).y.tolist() == [4, -4, 2047, -2048]
