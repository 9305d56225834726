"""Random decoders whose values lie where a real model's do: something for tests to compute."""

import numpy as np
from olivine.linear.descriptor import Group, RowFormat, run_steps
from olivine.olive.formats import LaneFormat

from ..linear import LinearWeights, linear
from ..ovp import encode_pairs
from .model import Activation, AttentionScales, DecoderLayer, Embedding, Factor, Norm, QuantizedDecoder

__all__ = ["random_decoder"]

ROW = 500
"""Standard deviation of int12 rows."""


def _factor(ratio):
    """`Factor` near a real number: 15 bits of it."""
    fraction, power = np.frexp(ratio)
    return Factor(int(fraction * (1 << 15)), int(15 - power))


def _codes(rng, lane_format, k, n):
    if lane_format is LaneFormat.INT8:
        return rng.integers(-128, 128, (k, n)).astype(np.int8).view(np.uint8)
    if lane_format is LaneFormat.INT4:
        return rng.integers(0, 16, (k, n), np.uint8)
    halves = np.rint(rng.standard_t(4, (k, n)) * 5).astype(int)
    # An odd last step has no partner that could mark it as an outlier.
    halves[k // 2 * 2:] = np.clip(halves[k // 2 * 2:], -14, 14)
    pairs, _ = encode_pairs(halves[0::2], np.concatenate([halves, 0 * halves[:k % 2]])[1::2], lane_format)
    return np.stack([pairs >> 4, pairs & 15], axis=1).reshape(-1, n)[:k]


def _linear(rng, shape, deviation, lane_format, group):
    """Weights whose results have about these standard deviations, a number or one for each channel."""
    k, n = shape
    groups = None if group is Group.CHANNEL else rng.integers(128, 256, (-(-k // run_steps(group)), n)).astype(np.uint8)
    group_shift = 0 if groups is None else int(rng.integers(0, 9))
    weights = LinearWeights(lane_format, group, _codes(rng, lane_format, k, n), groups, group_shift,
                            np.zeros(n, np.int32), np.full(n, 1, np.uint16), np.zeros(n, np.uint8))
    # With a factor of 2**-shift that leaves results within int16 to measure.
    rows = np.clip(np.rint(rng.normal(0, ROW, (64, k))), -2048, 2047).astype(int)
    probe = LinearWeights(lane_format, group, weights.codes, groups, group_shift, weights.bias, weights.mult,
                          np.full(n, 12, np.uint8))
    measured = np.maximum(linear(rows, probe, RowFormat.INT16)[0].std(0), 1) * 4096
    pairs = [_factor(ratio) for ratio in deviation / measured]
    bias = np.rint(rng.normal(0, 0.1, n) * measured).astype(np.int32)
    return LinearWeights(lane_format, group, weights.codes, groups, group_shift, bias,
                         np.array([mult for mult, _ in pairs], np.uint16),
                         np.array([shift for _, shift in pairs], np.uint8))


def _norm(rng, channels):
    return Norm(np.rint(rng.normal(ROW, ROW / 4, channels) * 32).astype(np.int16),
                np.rint(rng.normal(0, 16 * ROW / 4, channels)).astype(np.int16), 14 + 5)


def _attention(rng, config, key_format, value_format):
    def factors(ratio, count):
        pairs = [_factor(ratio * rng.uniform(0.8, 1.2)) for _ in range(count)]
        return (np.array(part, np.int64) for part in zip(*pairs))

    deviation = {lane_format: (30, 30) if lane_format is LaneFormat.INT8 else (3, 6) for lane_format in LaneFormat}
    (keys, key_target), (values, value_target) = deviation[key_format], deviation[value_format]
    key_mult, key_shift = factors(key_target / 4000, config.kv_heads)
    value_mult, value_shift = factors(value_target / 4000, config.kv_heads)
    score_mult, score_shift = factors(400 / (ROW * keys * config.head_dim ** 0.5), config.heads)
    o_mult, o_shift = factors(ROW / values, config.heads)
    # The hardware gives O / l * o_mult * 2**(16 - o_shift).
    return AttentionScales(key_mult, key_shift, value_mult, value_shift, score_mult, score_shift, o_mult, o_shift + 16)


def random_decoder(config, seed, formats=(LaneFormat.INT8,), groups=(Group.CHANNEL,),
                   cache=(LaneFormat.INT8, LaneFormat.INT8)):
    """A `QuantizedDecoder`.

    Parameters
    ----------
    config : DecoderConfig
    seed : int
    formats, groups : sequences of LaneFormat and Group
        Each linear layer takes one of each at random.
    cache : (LaneFormat, LaneFormat)
        Of keys and values.
    """
    rng = np.random.default_rng(seed)
    shapes = config.linear_shapes()

    def weights(shape, deviation):
        return _linear(rng, shape, deviation, formats[rng.integers(len(formats))], groups[rng.integers(len(groups))])

    def embedding(rows):
        return Embedding(np.rint(rng.normal(0, 8000, (rows, config.d_model))).astype(np.int16), _factor(1024 / 8000))

    q_or_not = np.where(np.arange(config.qkv_channels) < config.key_channel, ROW, 4000)
    layers = [DecoderLayer(
        norm1=_norm(rng, config.d_model), qkv=weights(shapes["qkv"], q_or_not),
        attention=_attention(rng, config, *cache), proj=weights(shapes["proj"], 8000), proj_add=_factor(400 / 8000),
        norm2=_norm(rng, config.d_model), up=weights(shapes["up"], 1500),
        activation=Activation(10, *_factor(ROW / 4096)),
        down=weights(shapes["down"], 8000), down_add=_factor(400 / 8000)) for _ in range(config.layers)]
    return QuantizedDecoder(config, *cache, embedding(config.vocab), embedding(config.context), layers,
                            _norm(rng, config.d_model), weights((config.d_model, config.vocab), 5000), 1 / 2048)
