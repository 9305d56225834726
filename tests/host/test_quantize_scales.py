"""Scale search, and the numbers that the hardware gets."""

import numpy as np
import pytest
from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat
from olivine_host.quantize.codes import codebook
from olivine_host.quantize.scales import finish, hardware_scales
from olivine_host.quantize.search import best_scales, group_scales, squared_error, start_scale

BIAS = np.zeros(16)


def heavy_tailed(k=256, n=16, seed=0):
    return np.random.default_rng(seed).standard_t(4, (k, n)) * 0.02


@pytest.mark.parametrize("format", list(LaneFormat))
@pytest.mark.parametrize("pairs", ["least_error", "rule"])
def test_search_never_worse_than_its_start(format, pairs):
    w, book = heavy_tailed(), codebook(format)
    start = squared_error(w, start_scale(w, book), book, pairs)
    found = squared_error(w, best_scales(w, book, pairs), book, pairs)
    assert (found <= start).all()
    # 8 bits clip nothing here; everything else gains.
    assert format is LaneFormat.INT8 or found.sum() < 0.95 * start.sum()


def test_start_is_three_sigma_or_the_largest():
    w = heavy_tailed()
    mean, sigma = w.mean(axis=0), w.std(axis=0)
    assert np.allclose(start_scale(w, codebook(LaneFormat.OVP4_INT)), (np.abs(mean) + 3 * sigma) / 7)
    assert np.allclose(start_scale(w, codebook(LaneFormat.OVP4_FLINT)), (np.abs(mean) + 3 * sigma) / 16)
    assert np.allclose(start_scale(w, codebook(LaneFormat.INT8)), np.abs(w).max(axis=0) / 127)


def test_error_counts_victims():
    # 96 and 3 share a pair: one of them is lost.
    w = np.array([[96.0], [3.0], [1.0], [1.0]])
    book = codebook(LaneFormat.OVP4_INT)
    assert squared_error(w, np.ones(1), book)[0] == 9.0
    assert squared_error(w, np.ones(1), book, importance=np.array([1, 2, 1, 1]))[0] == 18.0


def test_first_candidate_wins_on_equality():
    assert best_scales(np.zeros((4, 1)), codebook(LaneFormat.OVP4_INT)).tolist() == [0.0]
    w, book = np.array([[7.0], [-7.0]]), codebook(LaneFormat.OVP4_INT)
    assert start_scale(w, book).tolist() == [3.0]
    # Scales of 7 and 3.5 both code without error.
    assert best_scales(w, book, factors=(1.0, 7 / 3, 7 / 6)).tolist() == [7.0]
    assert best_scales(w, book, factors=(1.0, 7 / 6, 7 / 3)).tolist() == [3.5]


def test_groups_are_searched_apart():
    w = np.concatenate([heavy_tailed(64, seed=1), 10 * heavy_tailed(64, seed=1), heavy_tailed(30, seed=2)])
    book = codebook(LaneFormat.OVP4_INT)
    scales = group_scales(w, 64, book)
    assert scales.shape == (3, 16)
    assert np.allclose(scales[1], 10 * scales[0])
    assert np.array_equal(scales[2], best_scales(w[128:], book))


@pytest.mark.parametrize("group", list(Group))
def test_effective_scales_are_exact(group):
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.001, 0.01, (1 if group is Group.CHANNEL else 3, 16))
    hw = hardware_scales(scales, BIAS, group, x_scale=0.003, y_scale=0.02)
    assert hw.mult.dtype == np.uint16 and hw.mult.min() >= 1 << 15
    unit = hw.mult * 2.0 ** -hw.exponent * 0.02 / 0.003
    if group is Group.CHANNEL:
        assert hw.multipliers is None
        assert np.allclose(hw.weight[0], unit, rtol=1e-15)
        assert np.allclose(hw.weight, scales, rtol=2.0 ** -16)
    else:
        assert hw.multipliers.dtype == np.uint8
        assert (hw.multipliers.max(axis=0) == 255).all()
        assert np.allclose(hw.weight, hw.multipliers * unit, rtol=1e-15)
        assert np.abs(hw.weight - scales).max() <= 0.51 * scales.max() / 255


def test_mult_that_rounds_up_to_17_bits_is_normalised():
    scale = np.array([[1 - 2.0 ** -20]])
    hw = hardware_scales(scale, np.zeros(1), Group.CHANNEL, x_scale=1.0, y_scale=1.0)
    assert hw.mult[0] == 1 << 15 and hw.mult[0] * 2.0 ** -hw.exponent[0] == 1.0


def test_group_shift_makes_room():
    """Sums that would pass 36 bits get the smallest shift that keeps them in."""
    k = 4096
    scales = np.ones((k // 64, 1))
    hw = hardware_scales(scales, np.zeros(1), Group.G64, x_scale=1.0, y_scale=1e6)
    for value, expected in ((1, 0), (32, 1), (192, 4)):
        values = np.full((k, 1), value)
        group_shift, shift, _ = finish(hw, values, 64, np.zeros(1), x_bits=12)
        assert group_shift == expected
        assert shift[0] == hw.exponent[0] - expected
        assert k * value * 2048 * 255 / 2 ** expected < 2 ** 35
    # 4096 * 16 * 2048 * 255 just fits; the bias does not fit beside it.
    values, bias = np.full((k, 1), 16), 2e8 * hw.unit
    assert [finish(hw, values, 64, b, x_bits=12)[0] for b in (0 * bias, bias)] == [0, 1]
    # The rows' width counts: 8-bit rows leave 4 bits more.
    assert finish(hw, np.full((k, 1), 192), 64, np.zeros(1), x_bits=8)[0] == 0


def test_bias_that_does_not_fit_names_its_channel():
    bias = np.array([0.0, 1e7, 0.0])
    hw = hardware_scales(np.full((1, 3), 1e-6), np.zeros(3), Group.CHANNEL, x_scale=1e-3, y_scale=1e-3)
    with pytest.raises(ValueError, match=r"bias of channel 1 is 1e\+07, .* must fit 32 bits"):
        finish(hw, np.ones((4, 3)), 4, bias, x_bits=12)


@pytest.mark.parametrize("group", list(Group))
def test_scales_make_room_for_the_bias(group):
    bias = np.array([0.0, 1e7, -1e7])
    hw = hardware_scales(np.full((1, 3), 1e-6), bias, group, x_scale=1e-3, y_scale=1e4)
    group_shift, _, integers = finish(hw, np.ones((4, 3)), 64, bias, x_bits=12)
    assert np.allclose(integers * hw.unit * 2.0 ** group_shift, bias, rtol=1e-6)


def test_results_too_fine_name_their_channel():
    hw = hardware_scales(np.array([[1e-6, 1.0]]), np.zeros(2), Group.CHANNEL, x_scale=1.0, y_scale=1e-5)
    with pytest.raises(ValueError, match="shift of channel 1 is -1: must be 0 to 63; y_scale is too small"):
        finish(hw, np.ones((4, 2)), 4, np.zeros(2), x_bits=12)


@pytest.mark.parametrize("group", list(Group))
@pytest.mark.parametrize("bias", [0.0, 0.3, -5.0])
def test_channel_without_weights_keeps_its_bias(group, bias):
    bias = np.array([bias])
    hw = hardware_scales(np.zeros((1, 1)), bias, group, x_scale=0.01, y_scale=0.001)
    group_shift, shift, integer = finish(hw, np.zeros((64, 1)), 64, bias, x_bits=12)
    result = int(integer[0]) * int(hw.mult[0]) / 2 ** int(shift[0])
    assert abs(result - bias[0] / 0.001) < 0.01
    # Nor does it cost the other channels of the job any precision.
    assert group_shift == 0
