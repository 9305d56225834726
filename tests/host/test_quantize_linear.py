"""A whole linear layer: what the golden model computes with the integers, against float."""

import numpy as np
import pytest
from olivine.linear.descriptor import Group, RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.linear import decode, linear
from olivine_host.quantize import activation_scale, dequantized, quantize_linear
from olivine_host.quantize import linear as linear_module

FORMATS = [*LaneFormat, "auto"]


def layer(n=24, k=200, m=300, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((k // 4, k))
    x = rng.standard_normal((m, k // 4)) @ mix + 0.3 * rng.standard_normal((m, k))
    # Scales that differ from channel to channel and from group to group, and a few outliers.
    w = rng.standard_t(4, (n, k)) * 0.05 * rng.uniform(0.2, 2, (n, 1))
    w *= np.repeat(rng.uniform(0.1, 1, (n, -(-k // 50))), 50, axis=1)[:, :k]
    return w, rng.standard_normal(n), x


def quantize(w, bias, x, y_bits=RowFormat.INT16, **options):
    y = x @ w.T + (0 if bias is None else bias)
    y_scale = activation_scale(y, y_bits.bits) * 1.5
    x_scale = activation_scale(x, 12)
    return quantize_linear(w, bias, x_scale=x_scale, y_scale=y_scale, y_format=y_bits, **options)


def rows(x, q):
    limit = 1 << q.x_format.bits - 1
    return np.clip(np.rint(x / q.x_scale), -limit, limit - 1).astype(np.int64)


def error(q, x, exact):
    y, tallies = linear(rows(x, q), q.weights, q.y_format)
    assert not any(tallies.values()), tallies
    return np.linalg.norm(y * q.y_scale - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("group", list(Group))
@pytest.mark.parametrize("format", FORMATS)
def test_hardware_numbers_reproduce_the_float_layer(format, group):
    """Integers through the golden model = effective float weights, but for rounding at known places."""
    w, bias, x = layer()
    q = quantize(w, bias, x, format=format, group=group)
    x_int = rows(x, q)
    y, tallies = linear(x_int, q.weights, q.y_format)
    assert not any(tallies.values())
    effective = dequantized(q.weights, x_scale=q.x_scale, y_scale=q.y_scale)
    exact = ((x_int * q.x_scale) @ effective.T + bias) / q.y_scale
    # Half a step at the end, half a unit of the partial sum for the bias and, after a shift, each group.
    unit = q.weights.mult * 2.0 ** -q.weights.shift.astype(float)
    roundings = 1 if q.weights.group_shift == 0 else 1 + len(q.weights.multipliers)
    assert (np.abs(y - exact) <= 0.5 + 0.5 * roundings * unit + 1e-6).all()


@pytest.mark.parametrize("format, group, bound", [
    (LaneFormat.INT8, Group.CHANNEL, 0.012), (LaneFormat.INT8, Group.G64, 0.01),
    ("auto", Group.CHANNEL, 0.15), ("auto", Group.G128, 0.14), ("auto", Group.G64, 0.13)])
def test_error_to_float(format, group, bound):
    w, bias, x = layer()
    assert error(quantize(w, bias, x, format=format, group=group), x, x @ w.T + bias) < bound


@pytest.mark.parametrize("group", list(Group))
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("k", [200, 193])
def test_gptq_beats_nearest(format, group, k):
    w, bias, x = layer()
    w, x = w[:, :k], x[:, :k]
    exact = x @ w.T + bias
    to_nearest = error(quantize(w, bias, x, format=format, group=group), x, exact)
    q = quantize(w, bias, x, format=format, group=group, method="gptq", hessian=x.T @ x)
    assert error(q, x, exact) < 0.7 * to_nearest


def test_pairs_make_up_for_an_odd_last_step():
    w, bias, x = layer(k=193)
    # The last input repeats others, many times over: alone its rounding would dominate.
    x[:, -1] = 2 * x[:, :20].sum(axis=1)
    options = {"format": LaneFormat.OVP4_INT, "group": Group.CHANNEL}
    exact = x @ w.T + bias
    q = quantize(w, bias, x, method="gptq", hessian=x.T @ x, **options)
    assert error(q, x, exact) < 0.3 * error(quantize(w, bias, x, **options), x, exact)


def test_sweeps_are_part_of_gptq(monkeypatch):
    w, bias, x = layer()
    options = {"method": "gptq", "hessian": x.T @ x}
    exact = x @ w.T + bias
    swept = error(quantize(w, bias, x, **options), x, exact)
    monkeypatch.setattr(linear_module, "descend", lambda *arguments: None)
    assert swept < 0.98 * error(quantize(w, bias, x, **options), x, exact)


@pytest.mark.parametrize("group", [Group.G64, Group.G128])
def test_groups_pay(group):
    w, bias, x = layer()
    exact = x @ w.T + bias
    channel = error(quantize(w, bias, x, format=LaneFormat.INT4, group=Group.CHANNEL), x, exact)
    assert error(quantize(w, bias, x, format=LaneFormat.INT4, group=group), x, exact) < 0.9 * channel


def test_codes_are_nearest_to_the_effective_scale():
    """Rounding a group's scale to 8 bits must not become an error of the weights."""
    w, bias, x = layer()
    w[:, 64:128] *= 0.01                       # multipliers of 1 to 3: far from the scale that was searched
    q = quantize(w, bias, x, format=LaneFormat.INT8, group=Group.G64)
    assert q.weights.multipliers[1].max() < 8
    effective = dequantized(q.weights, x_scale=q.x_scale, y_scale=q.y_scale)
    values = decode(q.weights).T
    inside = (np.abs(values) < 127) & (values != 0)
    assert inside.mean() > 0.5
    half = np.abs(effective[inside] / values[inside]) / 2
    assert (np.abs(w - effective)[inside] <= half * (1 + 1e-9)).all()


def test_auto_takes_the_better_type():
    rng = np.random.default_rng(0)
    flat = rng.uniform(-1, 1, (8, 128))
    peaked = rng.choice([0.0, 1, -1, 2, 3, 6, 8, -16], (8, 128))
    options = {"x_scale": 0.01, "y_scale": 1.0, "y_format": RowFormat.INT12, "group": Group.CHANNEL}
    assert quantize_linear(flat, format="auto", **options).weights.format is LaneFormat.OVP4_INT
    assert quantize_linear(peaked, format="auto", **options).weights.format is LaneFormat.OVP4_FLINT


def test_rules_of_pairs_reach_the_codes():
    # Long channels: in a short one it is cheaper to stretch the scale than to lose an outlier.
    w = np.random.default_rng(0).standard_normal((4, 4096))
    w[:, 20], w[:, 21] = 19.0, 25.0
    options = {"x_scale": 0.01, "y_scale": 1.0, "y_format": RowFormat.INT12, "format": LaneFormat.OVP4_INT,
               "group": Group.CHANNEL}
    larger = quantize_linear(w, pairs="rule", **options).weights.codes
    first = quantize_linear(w, pairs="first_wins", **options).weights.codes
    assert (larger[20] == 8).all() and (larger[21] != 8).all()
    assert (first[21] == 8).all() and (first[20] != 8).all()


def test_channels_of_zeros_and_tiny_weights():
    w, bias, x = layer(n=6)
    w[1], w[2], w[3] = 0, 1e-12, 1e-300
    bias[3] = bias[4] = 0
    for group in Group:
        q = quantize(w, bias, x, group=group)
        y, tallies = linear(rows(x, q), q.weights, q.y_format)
        assert not any(tallies.values())
        for channel in (1, 2, 3):
            assert np.abs(y[:, channel] * q.y_scale - bias[channel]).max() <= 0.51 * q.y_scale


def test_result_carries_what_was_asked():
    w, _, _ = layer(n=5, k=70)
    q = quantize_linear(w, x_scale=0.5, y_scale=4, x_format=RowFormat.INT8, y_format=RowFormat.INT12,
                        format=LaneFormat.OVP4_FLINT, group=Group.G64)
    assert (q.x_format, q.y_format, q.x_scale, q.y_scale) == (RowFormat.INT8, RowFormat.INT12, 0.5, 4.0)
    weights = q.weights
    assert (weights.format, weights.group) == (LaneFormat.OVP4_FLINT, Group.G64)
    assert weights.codes.shape == (70, 5) and weights.multipliers.shape == (2, 5)
    assert not weights.bias.any()


@pytest.mark.parametrize("group", list(Group))
def test_scale_of_each_channel(group):
    """As if each channel were a layer of its own."""
    w, bias, x = layer(n=6)
    scales = np.geomspace(0.001, 0.1, 6)
    options = {"x_scale": activation_scale(x, 12), "y_format": RowFormat.INT16, "format": LaneFormat.OVP4_INT,
               "group": group}
    together = quantize_linear(w, bias, y_scale=scales, **options)
    np.testing.assert_array_equal(together.y_scale, scales)
    alone = [quantize_linear(w[n:n + 1], bias[n:n + 1], y_scale=scales[n], **options) for n in range(6)]
    assert {one.weights.group_shift for one in (together, *alone)} == {0}
    for name in ("codes", "bias", "mult", "shift"):
        wanted = np.concatenate([getattr(one.weights, name) for one in alone], axis=-1)
        np.testing.assert_array_equal(getattr(together.weights, name), wanted)
    effective = dequantized(together.weights, x_scale=together.x_scale, y_scale=scales)
    assert np.linalg.norm(effective - w) < 0.15 * np.linalg.norm(w)


@pytest.mark.parametrize("group", list(Group))
def test_given_scales(group):
    w, bias, _ = layer(n=5)
    runs = {Group.CHANNEL: 1, Group.G64: 4, Group.G128: 2}[group]
    scales = np.random.default_rng(1).uniform(0.02, 0.03, (runs, 5))
    q = quantize_linear(w, bias, x_scale=0.1, y_scale=0.2, y_format=RowFormat.INT16, group=group, scales=scales,
                        format=LaneFormat.OVP4_INT)
    step = np.repeat(scales, -(-200 // runs) if runs == 1 else 256 // runs, axis=0)[:200]
    effective = dequantized(q.weights, x_scale=0.1, y_scale=0.2).T
    np.testing.assert_allclose(effective, decode(q.weights) * step, rtol=0.003)


@pytest.mark.parametrize("changes, kind, message", [
    ({"w": np.zeros(4)}, ValueError, r"w has shape \(4,\): must be \[N, K\]"),
    ({"w": np.array([[1.0], [np.nan]])}, ValueError, "w of channel 1 is not finite"),
    ({"bias": np.zeros(3)}, ValueError, r"bias has shape \(3,\): must be \(2,\)"),
    ({"bias": np.array([np.inf, 0])}, ValueError, "bias of channel 0 is not finite"),
    ({"x_scale": 0.0}, ValueError, "x_scale is 0.0: must be finite and above 0"),
    ({"y_scale": np.inf}, ValueError, "y_scale is inf"),
    ({"y_scale": np.ones(3)}, ValueError, r"y_scale has shape \(3,\): must be one number, or \(2,\)"),
    ({"y_scale": np.array([1.0, 0.0])}, ValueError, "must be finite and above 0"),
    ({"scales": np.ones((1, 2))}, ValueError, "format is 'auto': name the format"),
    ({"scales": np.ones((2, 2)), "format": LaneFormat.INT8}, ValueError, r"scales\(2, 2\) must be \(1, 2\)"),
    ({"scales": -np.ones((1, 2)), "format": LaneFormat.INT8}, ValueError, "not negative"),
    ({"x_format": RowFormat.INT16}, ValueError, "x_format is INT16: row operands have 12 bits"),
    ({"y_format": 12}, TypeError, "y_format must be a RowFormat, not 12"),
    ({"format": "int4"}, TypeError, "format must be a LaneFormat or 'auto', not 'int4'"),
    ({"group": 64}, TypeError, "group must be a Group, not 64"),
    ({"method": "best"}, ValueError, "method is 'best': allowed are 'nearest', 'gptq'"),
    ({"method": "gptq"}, ValueError, "method 'gptq' needs a hessian"),
    ({"pairs": "x"}, ValueError, "pairs is 'x': allowed are"),
    ({"y_scale": 1e-12}, ValueError, "shift of channel 0 is .* y_scale is too small"),
])
def test_refuses(changes, kind, message):
    options = {"x_scale": 0.1, "y_scale": 0.1, "y_format": RowFormat.INT12} | changes
    w, bias = options.pop("w", np.ones((2, 8))), options.pop("bias", np.zeros(2))
    with pytest.raises(kind, match=message):
        quantize_linear(w, bias, **options)
