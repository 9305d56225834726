"""`olivine_host.linear` on one's own arrays, against `torch.nn.functional.linear`."""

import numpy as np
import olivine_host
import pytest
import torch
from olivine.config import PRESETS, AcceleratorConfig
from olivine.linear.descriptor import Group, RowFormat
from olivine.olive.formats import LaneFormat
from olivine_host.backends import BACKENDS, GoldenBackend, get_backend
from olivine_host.rows import quantize_rows, symmetric_scale

M, K, N = 9, 160, 70
"""Ragged in every direction: rows of edge, groups of 64 and 128, lanes."""


@pytest.fixture
def operands():
    """x [M, K], w [N, K], bias [N]: Gaussian, with a few outliers in w as trained weights have them."""
    rng = np.random.default_rng(1)
    x, w, bias = rng.normal(size=(M, K)), rng.normal(size=(N, K)), rng.normal(size=N)
    w[rng.random(w.shape) < 0.003] *= 8
    return x, w * 0.05, bias


def relative_error(y, x, w, bias):
    reference = torch.nn.functional.linear(*(torch.from_numpy(t) for t in (x, w, bias))).numpy()
    assert y.shape == reference.shape and y.dtype == np.float64
    return np.linalg.norm(y - reference) / np.linalg.norm(reference)


# About 1.3 times what was seen. Rounding noise of int8 is .6 % of Gaussian weights; plain int4 is hurt by
# outliers, which outlier-victim pairs keep.
BOUNDS = [
    ("int8", "channel", "nearest", 0.009), ("int8", 64, "nearest", 0.007), ("int8", 128, "nearest", 0.008),
    ("ovp4", "channel", "nearest", 0.08), ("ovp4", 64, "nearest", 0.07), ("ovp4", 128, "nearest", 0.08),
    ("int4", "channel", "nearest", 0.135), ("int4", 64, "nearest", 0.095), ("int4", 128, "nearest", 0.12),
]


class TestAgainstTorch:
    @pytest.mark.parametrize("format, group, method, bound", BOUNDS)
    def test_error_is_bounded(self, operands, format, group, method, bound):
        y = olivine_host.linear(*operands, format=format, group=group, method=method)
        error = relative_error(y, *operands)
        print(f"{format} {group} {method}: {error:.5f}")
        assert error < bound

    def test_compensation_helps(self):
        rng = np.random.default_rng(2)
        # Correlated inputs: what error compensation lives on.
        x = rng.normal(size=(256, 16)) @ rng.normal(size=(16, 64)) + 0.1 * rng.normal(size=(256, 64))
        w = rng.normal(size=(32, 64))
        reference = x @ w.T
        nearest, gptq = (np.linalg.norm(olivine_host.linear(x, w, format="ovp4", method=method) - reference)
                         for method in ("nearest", "gptq"))
        assert gptq < 0.7 * nearest

    @pytest.mark.parametrize("y_bits, bound", [(8, 0.03), (12, 0.02), (16, 0.02)])
    def test_result_widths(self, operands, y_bits, bound):
        y, result, quantized = olivine_host.linear(*operands, y_bits=y_bits, details=True)
        assert relative_error(y, *operands) < bound
        assert quantized.y_format.bits == y_bits
        assert np.abs(result.y).max() >= (1 << (y_bits - 1)) * 0.9, "the scale leaves bits unused"

    def test_narrow_rows(self, operands):
        y, _, quantized = olivine_host.linear(*operands, x_bits=8, details=True)
        assert quantized.x_format.bits == 8
        assert relative_error(y, *operands) < 0.02

    def test_float32_and_integers_are_welcome(self, operands):
        x, w, bias = operands
        wide = olivine_host.linear(x.astype(np.float32), w.astype(np.float32), bias.astype(np.float32))
        assert relative_error(wide, x, w, bias) < 0.02
        y = olivine_host.linear(np.arange(6).reshape(2, 3), np.eye(3, dtype=int))
        np.testing.assert_allclose(y, np.arange(6).reshape(2, 3), atol=0.01)

    def test_zeros(self):
        y = olivine_host.linear(np.zeros((2, 4)), np.zeros((3, 4)))
        np.testing.assert_array_equal(y, np.zeros((2, 3)))

    def test_given_scales_are_used_and_saturate(self, operands):
        x, w, bias = operands
        _, result, quantized = olivine_host.linear(*operands, x_scale=0.5 * np.abs(x).max() / 2047,
                                                   y_scale=0.25 * np.abs(x @ w.T + bias).max() / 32767,
                                                   details=True)
        assert quantized.x_scale == pytest.approx(0.5 * np.abs(x).max() / 2047)
        assert result.status["sat_output"] > 0
        assert result.y.max() == 32767


class TestRows:
    def test_to_the_nearest_step(self):
        x = np.array([[0.24, 0.26, -0.24, -0.26, 0.74]])
        np.testing.assert_array_equal(quantize_rows(x, 0.5, RowFormat.INT12), [[0, 1, 0, -1, 1]])

    @pytest.mark.parametrize("row_format, lowest, highest", [
        (RowFormat.INT8, -128, 127), (RowFormat.INT12, -2048, 2047), (RowFormat.INT16, -32768, 32767)])
    def test_saturate(self, row_format, lowest, highest):
        x = np.array([[1e9, -1e9, highest, highest + 1, lowest, lowest - 1]])
        expected = [[highest, lowest, highest, highest, lowest, lowest]]
        np.testing.assert_array_equal(quantize_rows(x, 1.0, row_format), expected)

    def test_scale_fits_the_largest(self):
        assert quantize_rows([[-3.0, 3.0]], symmetric_scale(3.0, RowFormat.INT12), RowFormat.INT12).tolist() == [
            [-2047, 2047]]


class TestDetails:
    def test_result_and_weights_come_back(self, operands):
        y, result, quantized = olivine_host.linear(*operands, format="ovp4", group=128, details=True)
        assert quantized.weights.format in (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)
        assert quantized.weights.group is Group.G128
        assert result.status["illegal"] == 0
        np.testing.assert_array_equal(y, result.y * quantized.y_scale)

    def test_groups_by_default(self, operands):
        groups = {format: olivine_host.linear(*operands, format=format, details=True)[2].weights.group
                  for format in ("int8", "ovp4", "int4")}
        assert groups == {"int8": Group.CHANNEL, "ovp4": Group.G64, "int4": Group.G64}

    def test_a_backend_object_is_used(self, operands):
        seen = []

        class Counting(GoldenBackend):
            def run_linear(self, weights, x_int, x_format, y_format):
                seen.append(x_int.shape)
                return super().run_linear(weights, x_int, x_format, y_format)

        olivine_host.linear(*operands, backend=Counting(PRESETS["tiny"]))
        assert seen == [(M, K)]

    def test_lazy_attribute(self):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            olivine_host.nothing  # noqa: B018


ONES = np.ones((2, 4))


@pytest.mark.parametrize("error, message, arguments, options", [
    (ValueError, r"x has shape \(4,\): must be \[M, K\]", (np.ones(4), ONES), {}),
    (ValueError, r"w has shape \(2, 4, 1\): must be \[N, K\]", (ONES, ONES[..., None]), {}),
    (ValueError, r"w has shape \(2, 3\) and x \(2, 4\)", (ONES, ONES[:, :3]), {}),
    (ValueError, r"bias has shape \(3,\): must be \(2,\)", (ONES, ONES, np.ones(3)), {}),
    (ValueError, r"bias has shape \(1, 2\): must be \[N\]", (ONES, ONES, np.ones((1, 2))), {}),
    (ValueError, r"x has shape \(0, 4\): must not be empty", (ONES[:0], ONES), {}),
    (ValueError, r"w holds nan at \(1, 2\)", (ONES, np.array([[1, 1, 1, 1], [1, 1, np.nan, 1]])), {}),
    (ValueError, r"x holds inf at \(0, 0\)", (ONES * np.inf, ONES), {}),
    (TypeError, "x has dtype complex128", (ONES * 1j, ONES), {}),
    (TypeError, "w has dtype <U1", (ONES, np.full((2, 4), "a")), {}),
    (ValueError, "format is 'int5': allowed are 'int8', 'ovp4', 'int4'", (ONES, ONES), {"format": "int5"}),
    (ValueError, "group is '32': allowed are 'channel', '64', '128'", (ONES, ONES), {"group": 32}),
    (ValueError, "method is 'guess': allowed are 'nearest', 'gptq'", (ONES, ONES), {"method": "guess"}),
    (ValueError, "y_bits is 10: allowed are 8, 12, 16", (ONES, ONES), {"y_bits": 10}),
    (ValueError, "x_bits is 16: allowed are 8, 12", (ONES, ONES), {"x_bits": 16}),
    (ValueError, "x_scale is -1: must be a positive number", (ONES, ONES), {"x_scale": -1}),
    (ValueError, "y_scale is nan: must be a positive number", (ONES, ONES), {"y_scale": float("nan")}),
    (ValueError, "backend is 'gpu': allowed are 'golden', 'verilator'", (ONES, ONES), {"backend": "gpu"}),
    (ValueError, "preset is 'huge': allowed are 'tiny'", (ONES, ONES), {"preset": "huge"}),
    (TypeError, "config is 'edge': must be an AcceleratorConfig", (ONES, ONES), {"config": "edge"}),
    (ValueError, "K is 513: 'tiny' holds reductions of at most 512", (np.ones((1, 513)),) * 2,
     {"preset": "tiny"}),
])
def test_bad_arguments_are_named(error, message, arguments, options):
    with pytest.raises(error, match=message):
        olivine_host.linear(*arguments, **options)


@pytest.mark.parametrize("format, y_bits", [("int8", 16), ("ovp4", 8)])
def test_a_simulator_gives_the_golden_bits(operands, format, y_bits):
    x, w, bias = operands
    small = x[:3, :70], w[:10, :70], bias[:10]
    options = {"format": format, "y_bits": y_bits, "preset": "tiny", "details": True}
    y, expected, _ = olivine_host.linear(*small, **options)
    simulated, result, _ = olivine_host.linear(*small, backend="icarus", **options)
    np.testing.assert_array_equal(result.y, expected.y)
    np.testing.assert_array_equal(simulated, y)
    assert result.status["array_useful"] == 3 * 70 * 10


def test_backends_by_name():
    assert get_backend("golden", PRESETS["tiny"]).config is PRESETS["tiny"]
    with pytest.raises(ValueError, match="no waveforms: choose a simulator, verilator or icarus"):
        get_backend("golden", PRESETS["tiny"], waves=True)
    assert BACKENDS == ("golden", "verilator", "icarus")


def test_golden_counts_illegal_bytes_in_each_pass(operands):
    """The weights cross the bus once for every P * C rows, and so do their illegal bytes."""
    config = AcceleratorConfig("small", 2, 8, 32, 1, 32, 512, 512)
    x, w, bias = operands
    _, result, quantized = olivine_host.linear(x, w, bias, format="ovp4", config=config, details=True)
    quantized.weights.codes[:2, 0] = 8      # a pair of two identifiers
    again = GoldenBackend(config).run_linear(quantized.weights, np.zeros((M, K), int), quantized.x_format,
                                             quantized.y_format)
    assert again.status["illegal"] == -(-M // 2)
