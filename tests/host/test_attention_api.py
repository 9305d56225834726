"""`olivine_host.attention` on one's own arrays, against `torch.nn.functional.scaled_dot_product_attention`."""

import math

import numpy as np
import olivine_host
import pytest
import torch
from olivine.attention.descriptor import OutputFormat
from olivine.config import PRESETS
from olivine.olive.formats import LaneFormat
from olivine.units import UNITS
from olivine_host.backends import GoldenBackend
from olivine_host.masks import find_mask
from olivine_host.quantize.heads import head_codes, head_format, head_scale, output_scale, score_scale

TINY = PRESETS["tiny"]


def operands(seed=1, batch=(2,), heads=8, kv_heads=2, tokens=11, keys=70, d=40):
    """Gaussian q, k and v, with the scores of trained heads: some keys matter much more than others."""
    rng = np.random.default_rng(seed)
    return (2 * rng.normal(size=(*batch, heads, tokens, d)), rng.normal(size=(*batch, kv_heads, keys, d)),
            rng.normal(size=(*batch, kv_heads, keys, d)))


def reference(q, k, v, mask=None, **options):
    tensors = [torch.from_numpy(np.asarray(part, np.float64)) for part in (q, k, v)]
    return torch.nn.functional.scaled_dot_product_attention(
        *tensors, attn_mask=None if mask is None else torch.from_numpy(mask), enable_gqa=True, **options).numpy()


def relative_error(y, expected):
    assert y.shape == expected.shape and y.dtype == np.float64
    return np.linalg.norm(y - expected) / np.linalg.norm(expected)


def bottom_right(tokens, keys, window=0):
    at = keys - tokens + np.arange(tokens)[:, None]
    key = np.arange(keys)
    return (key <= at) & (key > at - window) if window else key <= at


class TestAgainstTorch:
    # About 1.3 times what was seen.
    @pytest.mark.parametrize("kv_format, o_bits, bound", [
        ("int8", 16, 0.02), ("int8", 12, 0.02), ("int8", 8, 0.04), ("ovp4", 16, 0.24), ("int4", 16, 0.22)])
    def test_error_is_bounded(self, kv_format, o_bits, bound):
        parts = operands()
        error = relative_error(olivine_host.attention(*parts, kv_format=kv_format, o_bits=o_bits), reference(*parts))
        print(f"{kv_format} {o_bits}: {error:.5f}")
        assert error < bound

    def test_outliers_survive_in_pairs(self):
        q, k, v = operands(heads=2)
        k[..., 3] *= 8
        q[..., 3] /= 8
        v[..., 5] *= 8
        errors = {kv_format: relative_error(olivine_host.attention(q, k, v, kv_format=kv_format), reference(q, k, v))
                  for kv_format in ("ovp4", "int4", "int8")}
        print(errors)
        assert errors["int8"] < errors["ovp4"] < 0.8 * errors["int4"]

    @pytest.mark.parametrize("window", [0, 5])
    def test_causal(self, window):
        parts = operands()
        expected = reference(*parts, bottom_right(11, 70, window))
        assert relative_error(olivine_host.attention(*parts, is_causal=True, window=window), expected) < 0.02

    def test_causal_of_a_prompt_is_torchs(self):
        parts = operands(heads=2, tokens=20, keys=20)
        assert relative_error(olivine_host.attention(*parts, is_causal=True), reference(*parts, is_causal=True)) < .02
        # With fewer queries than keys PyTorch puts the first query at the first key.
        parts = operands(heads=2)
        y = olivine_host.attention(*parts, is_causal=True, position=0)
        assert relative_error(y, reference(*parts, is_causal=True)) < 0.02

    def test_window_without_causal(self):
        parts = operands(tokens=70)
        mask = np.arange(70) > np.arange(70)[:, None] - 9
        assert relative_error(olivine_host.attention(*parts, window=9), reference(*parts, mask)) < 0.02

    @pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
    def test_batches(self, batch):
        parts = operands(batch=batch, heads=4, tokens=3, keys=9, d=16)
        assert relative_error(olivine_host.attention(*parts), reference(*parts)) < 0.02

    def test_head_dims_are_padded(self):
        parts = operands(d=13)
        assert relative_error(olivine_host.attention(*parts), reference(*parts)) < 0.02

    def test_scale(self):
        parts = operands()
        error = relative_error(olivine_host.attention(*parts, scale=0.05), reference(*parts, scale=0.05))
        assert error < 0.02

    def test_given_scales_are_used(self):
        q, k, v = operands()
        scales = {"q_scale": .004, "k_scale": [.03, .04], "v_scale": .03, "o_scale": np.array([.001, .002])}
        y, result, quantized = olivine_host.attention(q, k, v, **scales, details=True)
        assert relative_error(y, reference(q, k, v)) < 0.02
        assert [list(quantized.k_scale), list(quantized.o_scale)] == [[.03, .04], [.001, .002]]
        np.testing.assert_allclose(y[0, 0, 0] / .001, result.outputs[0].y[0])
        # Results that do not fit saturate, and show.
        _, result, _ = olivine_host.attention(q, k, v, o_scale=1e-5, details=True)
        assert result.status["sat_output"] > 0

    def test_log_sum_exp(self):
        q, k, v = operands()
        _, lse = olivine_host.attention(q, k, v, is_causal=True, position=-2, return_lse=True)
        scores = np.einsum("bghtd,bgsd->bghts", q.reshape(2, 2, 4, 11, 40), k) / math.sqrt(40)
        scores = np.where(np.arange(70) <= np.arange(11)[:, None] - 2, scores, -np.inf)
        with np.errstate(divide="ignore"):
            expected = np.log(np.exp(scores).sum(axis=-1)).reshape(2, 8, 11)
        assert np.array_equal(np.isneginf(lse), np.isneginf(expected)) and np.isneginf(lse[..., :2]).all()
        np.testing.assert_allclose(lse[..., 2:], expected[..., 2:], atol=0.05)

    def test_rows_without_keys_are_zero(self):
        y = olivine_host.attention(*operands(), is_causal=True, position=-2)
        assert not y[..., :2, :].any() and y[..., 2, :].any()

    def test_zeros(self):
        y = olivine_host.attention(np.zeros((1, 2, 8)), np.zeros((1, 3, 8)), np.zeros((1, 3, 8)))
        np.testing.assert_array_equal(y, np.zeros((1, 2, 8)))


class TestMasks:
    @pytest.mark.parametrize("mask, options", [
        (np.ones((11, 70), bool), {}),
        (np.ones((1, 1), bool), {}),
        (bottom_right(11, 70), {"is_causal": True}),
        (bottom_right(11, 70, 5)[None, None], {"is_causal": True, "window": 5}),
        (np.broadcast_to(bottom_right(11, 70, 1), (2, 8, 11, 70)), {"is_causal": True, "window": 1}),
        (np.arange(70) <= np.arange(11)[:, None], {"is_causal": True, "position": 0}),
    ])
    def test_structure_is_found(self, mask, options):
        parts = operands()
        np.testing.assert_array_equal(olivine_host.attention(*parts, mask),
                                      olivine_host.attention(*parts, **options))

    @pytest.mark.parametrize("causal", [False, True])
    def test_key_lengths(self, causal):
        parts = operands()
        mask = np.stack([np.broadcast_to(np.arange(70) < 30, (11, 70)), np.ones((11, 70), bool)])[:, None]
        if causal:
            # The queries of each element are its latest tokens.
            mask = mask & np.stack([np.arange(70) <= end + np.arange(11)[:, None] for end in (19, 59)])[:, None]
        y = olivine_host.attention(*parts, mask)
        assert relative_error(y, reference(*parts, mask)) < 0.02

    def test_found_numbers(self):
        both = np.stack([np.pad(bottom_right(3, 6, 2), ((0, 0), (0, 4))), bottom_right(3, 10, 2)])
        found = find_mask(both)
        assert (found.causal, found.window, found.keys, found.positions) == (True, 2, [6, 10], [3, 7])
        nothing = find_mask(np.zeros((1, 3, 4), bool))
        assert (nothing.causal, nothing.positions[0] + 2 < 0) == (True, True)

    @pytest.mark.parametrize("change", [
        lambda mask: mask ^ (np.arange(70) == 3),
        lambda mask: mask[::-1],
        lambda mask: mask[:, ::-1],
        lambda mask: np.stack([mask, bottom_right(11, 70, 5)])[:, None],
        lambda mask: np.stack([mask] * 7 + [np.ones_like(mask)])[None],
    ])
    def test_others_are_refused(self, change):
        with pytest.raises(ValueError, match="mask is none that the hardware has: no mask, key lengths"):
            olivine_host.attention(*operands(), change(bottom_right(11, 70)))


class TestQuantizer:
    def test_scores_and_results_in_hardware_numbers(self):
        rng = np.random.default_rng(3)
        for q, k, scale in 10.0 ** rng.uniform(-4, 1, (50, 3)):
            mult, shift = score_scale(q, k, scale)
            assert 1 << 15 <= mult < 1 << 16 and 0 <= shift < 64
            assert math.isclose(mult * 2.0 ** -shift, q * k * scale * 256 / math.log(2), rel_tol=2 ** -16)
            mult, shift = output_scale(q, k / 50)
            # O / l in 7 fractional bits, times M / 2**16, shifted by what is more than 25.
            assert math.isclose(2 ** 7 * mult / 65536 * 2.0 ** (25 - shift), q / (k / 50), rel_tol=2 ** -16)
        assert score_scale(1e-12, 1e-12, 1e-3)[1] == 63
        with pytest.raises(ValueError, match="scores would be multiplied by"):
            score_scale(1e3, 1e3, 1.0)

    @pytest.mark.parametrize("fmt", LaneFormat)
    def test_codes_are_near(self, fmt):
        from olivine_golden.ovp import decode_codes
        x = np.random.default_rng(4).normal(size=(50, 16))
        scale, squared = head_scale(x, fmt)
        values = decode_codes(head_codes(x, scale, fmt).T, fmt).T * scale
        assert math.isclose(((x - values) ** 2).sum(), squared, rel_tol=1e-9)
        assert squared < (1e-4 if fmt is LaneFormat.INT8 else 0.02) * (x ** 2).sum()

    def test_the_better_format_is_taken(self):
        rng = np.random.default_rng(5)
        assert head_format(rng.normal(size=(2, 40, 16)), LaneFormat.INT4) is LaneFormat.INT4
        errors = {fmt: head_scale(x, fmt)[1] for x in [rng.normal(size=(40, 16))]
                  for fmt in (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)}
        rng = np.random.default_rng(5)
        rng.normal(size=(2, 40, 16))
        assert head_format([rng.normal(size=(40, 16))], "auto") is min(errors, key=errors.get)


class TestDetails:
    def test_result_and_groups_come_back(self):
        y, lse, result, quantized = olivine_host.attention(*operands(), o_bits=8, return_lse=True, details=True)
        assert quantized.options["o_format"] is OutputFormat.INT8 and quantized.options["heads"] == 4
        assert len(quantized.groups) == len(result.outputs) == 4 and quantized.groups[0].q.shape == (44, 40)
        # Row 4 t + h is of head h and token t.
        np.testing.assert_array_equal(y[1, 6, 3], result.outputs[3].y[4 * 3 + 2] * quantized.o_scale[1])
        assert lse.shape == (2, 8, 11) and result.status["sat_row"] == 0

    def test_a_backend_object_is_used(self):
        seen = []

        class Counting(GoldenBackend):
            def run_attention(self, groups, **options):
                seen.append(len(groups))
                return super().run_attention(groups, **options)

        olivine_host.attention(*operands(d=16), backend=Counting(TINY))
        assert seen == [4]


Q, K = np.ones((2, 3, 8)), np.ones((2, 4, 8))


@pytest.mark.parametrize("error, message, arguments, options", [
    (ValueError, r"q has shape \(3, 8\): must be \[..., heads, tokens, d\]", (Q[0], K, K), {}),
    (ValueError, r"k has shape \(2, 4, 8\) and v \(2, 3, 8\): must be the same", (Q, K, Q), {}),
    (ValueError, r"q has shape \(2, 3, 8\) and k \(2, 4, 7\)", (Q, K[..., :7], K[..., :7]), {}),
    (ValueError, r"q has shape \(1, 2, 3, 8\) and k \(2, 4, 8\)", (Q[None], K, K), {}),
    (ValueError, "q has 3 heads and k 2: must be a multiple", (np.ones((3, 3, 8)), K, K), {}),
    (ValueError, r"v has shape \(2, 0, 8\): must not be empty", (Q, K, K[:, :0]), {}),
    (ValueError, r"k holds nan at \(0, 0, 0\)", (Q, K * np.nan, K), {}),
    (TypeError, "q has dtype complex128: must be real numbers", (Q * 1j, K, K), {}),
    (ValueError, "kv_format is 'fp8': allowed are 'int8', 'ovp4', 'int4'", (Q, K, K), {"kv_format": "fp8"}),
    (ValueError, "o_bits is 10: allowed are 8, 12, 16", (Q, K, K), {"o_bits": 10}),
    (ValueError, "window is -1: must be 0", (Q, K, K), {"window": -1}),
    (ValueError, "position is 0.5: must be an integer", (Q, K, K), {"position": 0.5}),
    (ValueError, "scale is -1: must be a positive number", (Q, K, K), {"scale": -1}),
    (ValueError, "k_scale is 0.0: must be a positive number", (Q, K, K), {"k_scale": 0.0}),
    (ValueError, r"v_scale has shape \(3,\): must be one number or 2", (Q, K, K), {"v_scale": np.ones(3)}),
    (TypeError, "mask has dtype float64: must be bool", (Q, K, K, np.zeros((3, 4))), {}),
    (ValueError, r"mask has shape \(5, 4\): must broadcast to \(2, 3, 4\)", (Q, K, K, np.ones((5, 4), bool)), {}),
    (ValueError, "mask is given: is_causal, window and position must not be", (Q, K, K, np.ones((3, 4), bool)),
     {"is_causal": True}),
    (ValueError, "backend is 'gpu': allowed are 'golden', 'verilator'", (Q, K, K), {"backend": "gpu"}),
    (ValueError, "preset is 'huge': allowed are 'tiny'", (Q, K, K), {"preset": "huge"}),
    (TypeError, "config is 'edge': must be an AcceleratorConfig", (Q, K, K), {"config": "edge"}),
    (ValueError, "d is 40: 'tiny' holds at most 32", (np.ones((1, 1, 40)),) * 3, {"preset": "tiny"}),
    (ValueError, "S is 513: 'tiny' holds at most 512", (np.ones((1, 513, 8)),) * 3, {"preset": "tiny"}),
])
def test_bad_arguments_are_named(error, message, arguments, options):
    with pytest.raises(error, match=message):
        olivine_host.attention(*arguments, **options)


@pytest.mark.skipif("attention" not in UNITS, reason="the attention engine is not there yet")
@pytest.mark.parametrize("options", [pytest.param({}, marks=pytest.mark.slow),
                                     {"kv_format": "ovp4", "is_causal": True, "o_bits": 8, "return_lse": True}])
def test_a_simulator_gives_the_golden_bits(options):
    parts = operands(heads=4, tokens=3, keys=19, d=16)
    options = {"preset": "tiny", "details": True, **options}
    y, *lse, expected, _ = olivine_host.attention(*parts, **options)
    simulated, *simulated_lse, result, _ = olivine_host.attention(*parts, backend="icarus", **options)
    np.testing.assert_array_equal(simulated, y)
    assert all(map(np.array_equal, lse, simulated_lse))
    assert {name: result.status[name] for name in expected.status} == expected.status
