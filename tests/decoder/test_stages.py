"""Stages in float64 against the golden functions, at the ends of their ranges too; what a model refuses."""

from dataclasses import replace

import numpy as np
import pytest
from olivine.linear.descriptor import Group, RowFormat
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden import append, vector
from olivine_golden.decoder.attention import HeadFactors, attend, finish
from olivine_golden.decoder.cache import Codec, LayerHitters
from olivine_golden.decoder.exact import clamp, factor, rounded, scaled
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.model import Activation, AttentionScales, DecoderConfig, Factor, Norm
from olivine_golden.decoder.stages import ActivationStage, LinearStage, NormStage, _rsqrt, add
from olivine_golden.heavy_hitter import HeavyHitter
from olivine_golden.kv_sequence import heavy
from olivine_golden.linear import LinearWeights, linear
from olivine_golden.ovp import decode_pairs
from olivine_golden.rounding import rsh, sat
from olivine_golden.vector.rsqrt import rsqrt

CONFIG = DecoderConfig(layers=1, d_model=24, heads=2, kv_heads=1, head_dim=6, hidden=20, context=8, vocab=10,
                       function=Function.GELU_TANH)


def ends(rng, bits, count):
    """Signed numbers of all sizes, the largest and smallest among them."""
    sizes = rng.integers(0, bits, count)
    values = rng.integers(-(1 << 62), 1 << 62, count) >> (63 - sizes - 1)
    values[:6] = -(1 << bits - 1), (1 << bits - 1) - 1, 0, 1, -1, (1 << bits - 1) - 2
    return sat(values, bits)


def test_rounding_is_exact():
    rng = np.random.default_rng(1)
    for shift in range(64):
        x = ends(rng, 36, 3000)
        mult = rng.integers(0, 1 << 16, 3000)
        mult[:3] = 65535, 65535, 1
        # Near the halves, where a wrong rounding shows: x * mult = 2**(shift - 1) - 1, and so on.
        near = sat((1 << min(shift, 36) >> 1) + rng.integers(-2, 3, 3000), 36)
        for value, by in ((x, mult), (near, np.ones(3000, int)), (-near, np.ones(3000, int))):
            for bits in (8, 12, 24):
                np.testing.assert_array_equal(scaled(value.astype(np.float64), factor(by, shift), bits),
                                              sat(rsh(value * by, shift), bits))
    np.testing.assert_array_equal(rounded(np.array([-1.5, -0.5, 0.5, 1.5])), [-1, 0, 1, 2])
    np.testing.assert_array_equal(clamp(np.array([-130.0, 130.0, 5.0]), 8), [-128, 127, 5])


@pytest.mark.parametrize("lane_format, group, group_shift", [
    (LaneFormat.INT8, Group.CHANNEL, 0), (LaneFormat.OVP4_FLINT, Group.G64, 0), (LaneFormat.OVP4_FLINT, Group.G64, 8),
    (LaneFormat.INT4, Group.G128, 3), (LaneFormat.OVP4_INT, Group.G64, 63),
    (LaneFormat.INT8, Group.G64, 0),
])
def test_linear_that_saturates(lane_format, group, group_shift):
    rng = np.random.default_rng(2)
    k, n = 1500, 12
    largest = 127 if lane_format is LaneFormat.INT8 else 7
    codes = rng.integers(0, largest + 1, (k, n)).astype(np.uint8)
    codes[:, :3] = largest
    groups = None if group is Group.CHANNEL else rng.integers(1, 256, (-(-k // (64 * group.value)), n)).astype(np.uint8)
    weights = LinearWeights(lane_format, group, codes, groups, group_shift,
                            rng.integers(-1 << 31, 1 << 31, n).astype(np.int32),
                            rng.integers(0, 1 << 16, n).astype(np.uint16), rng.integers(0, 64, n).astype(np.uint8))
    # Channels whose sums leave 36 bits, where the format and the group allow it, and whose results show it.
    weights.mult[:3], weights.shift[:3] = 1, 22
    if groups is not None:
        groups[:, :3] = 255
    x = ends(rng, 12, 40 * k).reshape(40, k)
    x[0], x[1] = 2047, -2048
    tallies = linear(x, weights, RowFormat.INT16)[1]
    assert bool(tallies["sat_sum"]) == ((lane_format, group) == (LaneFormat.INT8, Group.G64))
    np.testing.assert_array_equal(LinearStage(weights)(x.astype(np.float64)), linear(x, weights, RowFormat.INT16)[0])


def test_residual_at_its_limits():
    rng = np.random.default_rng(3)
    residual, y = ends(rng, 24, 5000), rng.permutation(ends(rng, 16, 5000))
    for mult, shift in ((65535, 0), (65535, 9), (1, 0), (40000, 14), (3, 63)):
        wanted = vector.add(residual, y, mult, shift).residual
        got = add(residual.astype(np.float64), y.astype(np.float64), factor(mult, shift))
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("channels, eps", [(1, 1e-5), (24, 1e-5), (100, 1e-3), (768, 1e-5), (4096, 1e-8)])
def test_norm_of_all_kinds_of_rows(channels, eps):
    rng = np.random.default_rng(4)
    config = replace(CONFIG, d_model=channels, eps=eps)
    rows = [rng.normal(0, 2.0 ** scale, channels) + offset for scale in range(-2, 23, 3)
            for offset in (0, 1000, -(1 << 22))]
    rows += [np.full(channels, -(1 << 23)), np.full(channels, (1 << 23) - 1), np.zeros(channels),
             np.where(np.arange(channels) % 2, -(1 << 23), (1 << 23) - 1), np.eye(1, channels)[0],
             np.eye(1, channels)[0] * ((1 << 23) - 1)]
    residual = sat(np.rint(rows).astype(np.int64), 24)
    norm = Norm(rng.integers(-32768, 32768, channels).astype(np.int16),
                rng.integers(-32768, 32768, channels).astype(np.int16), 19)
    job = vector.NormJob.of(channels, eps, True)
    wanted = vector.normalise_rows(residual, job, norm.gamma, norm.beta, norm.shift, 12).y
    stage = NormStage(config, norm)
    np.testing.assert_array_equal(stage(residual.astype(np.float64)), wanted)
    # Ordinary rows alone take the way without Python's integers.
    small = np.abs(residual).max(1) < 1 << 18
    np.testing.assert_array_equal(stage(residual[small].astype(np.float64)), wanted[small])


def test_reciprocal_square_root_of_arrays():
    rng = np.random.default_rng(5)
    powers = [1 << bits for bits in range(62)]
    sizes = rng.integers(0, 1 << 62, 3000) >> rng.integers(0, 62, 3000)
    values = np.array([0, *powers, *(power - 1 for power in powers), *sizes], np.int64)
    exponent, root = _rsqrt(values)
    assert list(zip(exponent.tolist(), root.tolist())) == [rsqrt(value) for value in values.tolist()]


@pytest.mark.parametrize("function", Function)
def test_activation_of_every_argument(function):
    x = np.arange(-32768, 32768).reshape(16, -1)
    for fraction, mult, shift in ((8, 65535, 20), (12, 40000, 14), (10, 1, 0)):
        wanted = vector.activate(function, x, fraction, mult, shift, 12).y
        stage = ActivationStage(function, Activation(fraction, mult, shift))
        np.testing.assert_array_equal(stage(x.astype(np.float64)), wanted)


@pytest.mark.parametrize("lane_format", [LaneFormat.INT8, LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT])
def test_codec_is_the_append(lane_format):
    rng = np.random.default_rng(6)
    x = ends(rng, 16, 2 * 3 * 50 * 8).reshape(2, 3, 50, 8)
    mult, shift = np.array([65535, 300, 1]), np.array([20, 0, 63])
    got = Codec(lane_format, mult, shift)(x.astype(np.float64))
    for b in range(2):
        for head in range(3):
            stored, _ = append.requantize(x[b, head], int(mult[head]), int(shift[head]), lane_format)
            if lane_format is LaneFormat.INT8:
                wanted = stored.view(np.int8)
            else:
                wanted = np.stack(decode_pairs(stored, lane_format)[:2], axis=2).reshape(50, 8)
            np.testing.assert_array_equal(got[b, head], wanted)


def test_probability_of_a_hidden_key_is_0():
    """Also where a row's largest score is the smallest there is."""
    numbers = [np.full(2, value, np.int64) for value in (1, 0, 1, 0, 65535, 0, 0, 25)]
    scales = AttentionScales(*(value[:1] for value in numbers[:4]), *numbers[4:])
    by = HeadFactors(CONFIG, scales)
    q, k = np.full((1, 1, 2, 1, 6), -2048.0), np.full((1, 1, 4, 6), 127.0)
    v = np.arange(24.0).reshape(1, 1, 4, 6)
    mask = np.array([0.0, 0.0, -float(1 << 24), -float(1 << 24)])
    y, lse = finish(attend(q, k, v, lambda first, end: (0, mask[first:end]), 4, by), by)
    # Two keys of score -128: their weights add up to an octave more.
    assert lse.tolist() == [[[[256 - 32768], [256 - 32768]]]]
    np.testing.assert_array_equal(y[0, 0, 0, 0], v[0, 0, :2].mean(0) * 128)


def test_of_equal_sums_the_oldest_goes():
    rng = np.random.default_rng(7)
    policy = heavy(5, 3, 6)
    for _ in range(50):
        mine = LayerHitters(CONFIG, 1, policy)
        theirs = HeavyHitter(14, 5, 3)
        theirs.length = mine.length = 30
        theirs.positions[:12] = mine.positions[0, 0, :12] = rng.permutation(np.r_[27:30, rng.permutation(27)[:9]])
        theirs.sums[:12] = mine.sums[0, 0, :12] = rng.integers(0, 3, 12)
        mine._drop()
        theirs.drop(theirs.excess)
        np.testing.assert_array_equal(mine.positions[0, 0], theirs.positions)
        np.testing.assert_array_equal(mine.sums[0, 0], theirs.sums)


MODEL = random_decoder(CONFIG, 1)
LAYER = MODEL.layers[0]


@pytest.mark.parametrize("change, why", [
    (lambda: replace(CONFIG, heads=0), "heads is 0"),
    (lambda: replace(CONFIG, layers=1.5), "layers is 1.5"),
    (lambda: replace(CONFIG, heads=3, kv_heads=2), "multiple of kv_heads"),
    (lambda: replace(CONFIG, centred=False), "RMS norm is not implemented"),
    (lambda: replace(MODEL, layers=()), "there are 0 layers"),
    (lambda: replace(MODEL, key_format=LaneFormat.INT4), "key_format is .*INT4"),
    (lambda: replace(MODEL, token=MODEL.position), r"token\.table is int16\(8, 24\): must be int16\(10, 24\)"),
    (lambda: replace(MODEL, position=replace(MODEL.position, add=Factor(1 << 16, 3))), r"position\.add is 65536 >> 3"),
    (lambda: replace(MODEL, norm=replace(MODEL.norm, shift=64)), "norm is 0 >> 64"),
    (lambda: replace(MODEL, head=LAYER.up), r"head is \(24, 20\): must be \(24, 10\)"),
    (lambda: replace(MODEL, layers=[replace(LAYER, down=LAYER.up)]), "layer 0: down"),
    (lambda: replace(MODEL, layers=[replace(LAYER, activation=replace(LAYER.activation, fraction=13))]),
     "layer 0: activation.fraction is 13"),
    (lambda: replace(MODEL, layers=[replace(LAYER, attention=replace(LAYER.attention, o_shift=np.array([1, 64])))]),
     "layer 0: o is .* >> 64"),
    (lambda: replace(MODEL, layers=[replace(LAYER, attention=replace(LAYER.attention, key_mult=np.array([1, 2])))]),
     r"layer 0: key_mult is int64\(2,\): must be int64\(1,\)"),
])
def test_model_refuses(change, why):
    with pytest.raises(ValueError, match=why):
        change()
