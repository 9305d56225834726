"""The golden model of attention against float: stated errors, every mask against torch."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from olivine.attention.descriptor import OutputFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.attention import Group, attend, attention, finish

LN2 = np.log(2)
INT8 = {"key_format": LaneFormat.INT8, "value_format": LaneFormat.INT8}
PLAIN = {**INT8, "heads": 1, "causal": False, "window": 0}


def quantize(x, largest):
    scale = np.abs(x).max() / largest
    return np.floor(x / scale + 0.5).astype(np.int64), scale


def softmax2(scores, v):
    """Weighted values and binary log-sum-exp of scores in the log2 domain, in float64."""
    top = scores.max(axis=1, keepdims=True)
    p = np.exp2(scores - top)
    total = p.sum(axis=1, keepdims=True)
    return p @ v / total, (top + np.log2(total))[:, 0]


def multiplier(factor):
    """``mult, shift`` with ``mult / 2**shift`` near ``factor`` and 16 bits of it."""
    shift = 15 - int(np.floor(np.log2(factor)))
    return int(np.clip(round(factor * 2.0 ** shift), 0, 65535)), shift


def make_inputs(kind, rng, rows, keys, d):
    """Float q, k, v whose scores q . k / sqrt(d) are of deviation 1, of deviation 4, or of deviation 1 but for
    one key 7 above the others' mean."""
    q, k, v = rng.normal(size=(rows, d)), rng.normal(size=(keys, d)), rng.normal(size=(keys, d))
    if kind == "peaked":
        q *= 4
    if kind == "sink":
        sink = rng.choice([-1, 1], d) / np.sqrt(d)
        q, k = (x - np.outer(x @ sink, sink) for x in (q, k))
        q += 3 * sink
        k[rng.integers(keys)] = 7 * np.sqrt(d) / 3 * sink
    return q, k, v


def norm_error(found, ref):
    return np.linalg.norm(found - ref) / np.linalg.norm(ref)


@pytest.mark.parametrize("lanes, lse_bound", [(8, 0.006), (64, 0.012)])
@pytest.mark.parametrize("kind", ["gaussian", "peaked", "sink"])
def test_accuracy(kind, lanes, lse_bound):
    """The integers add little to what the quantization of q, k and v costs anyway.

    The log-sum-exp is compared with that of the scores, in octaves. 0.0032 is its own rounding; the rest comes
    of small probabilities that are rounded beside a large one of the same page.
    """
    worst_ratio = worst_excess = worst_lse = 0
    for keys, d in product((1, 63, 128, 1024, 4096), (32, 64, 80, 96, 128)):
        rng = np.random.default_rng([keys, d])
        q, k, v = make_inputs(kind, rng, 6, keys, d)
        ref, _ = softmax2(q @ k.T / np.sqrt(d) / LN2, v)
        (qi, q_scale), (ki, k_scale), (vi, v_scale) = quantize(q, 2047), quantize(k, 127), quantize(v, 127)
        scale = q_scale * k_scale / np.sqrt(d) / LN2
        exact, _ = softmax2(qi @ ki.T * scale, vi * v_scale)
        mult, shift = multiplier(256 * scale)
        # The output's scale is calibrated, as a host would: the largest result has 15 bits.
        o_mult, o_shift = multiplier(32_000 / np.abs(exact / v_scale).max() / 65536)
        group = Group(qi, ki.astype(np.int8).view(np.uint8), vi.astype(np.int8).view(np.uint8), position=0,
                      score_mult=mult, score_shift=shift, o_mult=o_mult, o_shift=o_shift)
        found = attention(group, lanes=lanes, chunk_rows=6, **PLAIN, o_format=OutputFormat.INT16)
        assert not any(found["tallies"].values())
        y = found["y"] / (o_mult / 2.0 ** (o_shift - 16)) * v_scale
        e_exact, e_golden = norm_error(exact, ref), norm_error(y, ref)
        assert e_golden <= 1.05 * e_exact + 0.002, f"{keys} keys, d {d}: {e_golden}, exact {e_exact}"
        scores = np.floor((qi @ ki.T) * mult / 2.0 ** shift + 0.5) / 256
        lse_error = np.abs(found["lse"] / 256 - softmax2(scores, vi)[1]).max()
        assert lse_error < lse_bound, f"{keys} keys, d {d}: log-sum-exp {lse_error}"
        worst_ratio = max(worst_ratio, e_golden / e_exact if e_exact else 0)
        worst_excess, worst_lse = max(worst_excess, e_golden - e_exact), max(worst_lse, lse_error)
    print(f"{kind}, {lanes} lanes: error at most {worst_ratio:.4f} of the exact one's, {worst_excess:.5f} more; "
          f"log-sum-exp {worst_lse:.5f}")


@pytest.mark.parametrize("lanes", [8, 64, 256])
def test_log_sum_exp_at_its_worst(lanes):
    """Keys 12 octaves below the page's maximum weigh just too little to be counted, whatever their number."""
    k = np.zeros((lanes, 8), np.uint8)
    k[0, 0] = 12
    group = Group(np.array([[1] + [0] * 7]), k, k, position=0, score_mult=257, score_shift=0)
    lse = finish(attend(group, lanes=lanes, **PLAIN)[0], 0, 25, OutputFormat.INT16)[1][0] / 256
    error = abs(lse - np.log2(np.exp2(12 * 257 / 256) + lanes - 1))
    print(f"{lanes} lanes: log-sum-exp off by {error:.4f}")
    assert error <= np.log2(1 + (lanes - 1) * 2.0 ** -12) + 1 / 256


def random_group(rng, rows, keys, position=0):
    """Scores of several octaves."""
    k, v = rng.integers(0, 256, (2, keys, 32)).astype(np.uint8)
    return Group(rng.integers(-2048, 2048, (rows, 32)), k, v, position=position, score_mult=40_000, score_shift=24)


def torch_attention(group, heads, **options):
    """Weighted values in units of v, by torch's attention in float64; rows as the group's."""
    tokens, d = group.rows // heads, group.q.shape[1]
    q = torch.tensor(group.q, dtype=torch.float64).reshape(1, tokens, heads, d).transpose(1, 2)
    k, v = (torch.tensor(codes.view(np.int8), dtype=torch.float64)[None, None]
            for codes in (group.k_codes, group.v_codes))
    y = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, scale=group.score_mult / 2 ** group.score_shift / 256 * LN2, enable_gqa=True, **options)
    return y.transpose(1, 2).reshape(group.rows, d).numpy()


TOKENS, KEYS = 21, 150


def attention_mask(mask):
    """Options of the model and torch's of one mask. The queries are the last of the keys."""
    offset, every = KEYS - TOKENS, torch.ones(TOKENS, KEYS, dtype=torch.bool)
    # Bottom-right: the last query sees the last key.
    return {
        "none": ({"causal": False, "window": 0}, {}),
        "causal": ({"causal": True, "window": 0}, {"attn_mask": every.tril(offset)}),
        "window": ({"causal": True, "window": 40}, {"attn_mask": every.tril(offset).triu(offset - 39)}),
        "window 1": ({"causal": True, "window": 1}, {"attn_mask": every.tril(offset).triu(offset)}),
        "window only": ({"causal": False, "window": 40}, {"attn_mask": every.triu(offset - 39)}),
        "padding": ({"causal": False, "window": 0}, {"attn_mask": every & (torch.arange(KEYS) < 97)}),
    }[mask]


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("mask", ["none", "causal", "window", "window 1", "window only", "padding"])
def test_torch(mask, heads):
    """Results within 0.4 steps of v. A score's rounding, 1/512 octave, makes up to 0.17 where values are 127 and
    -128; the rest is that of probabilities."""
    options, torch_options = attention_mask(mask)
    worst = 0
    for kv_head in range(16 // heads):      # 16 query heads
        rng = np.random.default_rng([heads, kv_head])
        group = random_group(rng, TOKENS * heads, KEYS, position=KEYS - TOKENS)
        ref = torch_attention(group, heads, **torch_options)
        if mask == "padding":
            group = replace(group, k_codes=group.k_codes[:97], v_codes=group.v_codes[:97])
        found = attention(group, lanes=16, chunk_rows=24, **INT8, heads=heads, **options,
                          o_format=OutputFormat.INT16)
        worst = max(worst, np.abs(found["y"] / 128 - ref).max())
    print(f"{mask}, {heads} heads: {worst:.3f} steps of v")
    assert worst < 0.4


def test_torch_causal_of_a_whole_prompt():
    group = random_group(np.random.default_rng(5), 70, 70)
    found = attention(group, lanes=16, chunk_rows=16, **INT8, heads=1, causal=True, window=0,
                      o_format=OutputFormat.INT16)
    assert np.abs(found["y"] / 128 - torch_attention(group, 1, is_causal=True)).max() < 0.4
