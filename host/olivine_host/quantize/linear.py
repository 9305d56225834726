"""Quantize one linear layer: float weights in, what the memory image holds out."""

from dataclasses import dataclass

import numpy as np
from olivine.linear.descriptor import Group, RowFormat, run_steps
from olivine.olive.formats import LaneFormat
from olivine_golden.linear import LinearWeights, decode

from .codes import PAIRS, codebook
from .descent import descend
from .gptq import compensate, damped
from .scales import finish, hardware_scales
from .search import group_scales, squared_error

__all__ = ["METHODS", "QuantizedLinear", "quantize_linear", "choose_scales", "dequantized"]

METHODS = ("nearest", "gptq")

_AUTO = (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)


@dataclass(frozen=True)
class QuantizedLinear:
    """A linear layer in integers; a real value is its integer times its scale.

    Parameters
    ----------
    weights : LinearWeights
    x_format, y_format : RowFormat
    x_scale : float
    y_scale : float or float64 [N]
    """

    weights: LinearWeights
    x_format: RowFormat
    y_format: RowFormat
    x_scale: float
    y_scale: float | np.ndarray


def quantize_linear(w, bias=None, *, x_scale, y_scale, x_format=RowFormat.INT12, y_format,
                    format="auto", group=Group.G64, method="nearest", hessian=None, pairs="least_error",
                    scales=None):
    """Quantize ``y = x @ w.T + bias``.

    Parameters
    ----------
    w : float [N, K]
        As `torch.nn.Linear` holds it.
    bias : float [N] or None
    x_scale : float
    y_scale : float or float [N]
        Real value of one step of the rows and of the results (of each channel); see `activation_scale`.
    x_format, y_format : RowFormat
        ``x_format`` is INT8 or INT12.
    format : LaneFormat or "auto"
        "auto" takes OVP4_INT or OVP4_FLINT, whichever has the smaller error over the tensor.
    group : Group
        Steps that share a scale.
    method : str
        "nearest", or "gptq": error-compensated, needs ``hessian``.
    hessian : float [K, K] or None
        ``X^T X`` of calibration inputs; a constant factor does not matter.
    pairs : str
        How pairs with outliers are coded: "least_error", "rule" or "first_wins"; see
        :meth:`Codebook.pairs`. All decode alike.
    scales : float [ceil(K / run), N] or None
        Scales of the weights, one row per channel group (one in all for CHANNEL), instead of a search; needs a
        ``format`` other than "auto".

    Returns
    -------
    QuantizedLinear

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above, or the numbers of a channel cannot be represented.
    """
    w, bias = _check_arrays(w, bias)
    _check_choices(x_format, y_format, format, group, method, pairs)
    for name, value in (("x_scale", x_scale), ("y_scale", y_scale)):
        if not (np.isfinite(value).all() and np.all(np.asarray(value) > 0)):
            raise ValueError(f"{name} is {value!r}: must be finite and above 0")
    k, n = w.shape
    x_scale = float(x_scale)
    y_scale = np.array(y_scale, np.float64) if np.ndim(y_scale) else float(y_scale)
    if np.shape(y_scale) not in ((), (n,)):
        raise ValueError(f"y_scale has shape {y_scale.shape}: must be one number, or ({n},), one per output channel")
    run = k if group is Group.CHANNEL else run_steps(group)
    importance = None
    if method == "gptq":
        if hessian is None:
            raise ValueError("method 'gptq' needs a hessian: X^T X of calibration inputs")
        hessian = damped(hessian, k)
        # Errors beside large inputs cost more, but compensation takes a share of them: square root.
        importance = np.sqrt(np.diagonal(hessian) / np.diagonal(hessian).mean())

    if scales is None:
        book, scales = choose_scales(w, run, format, pairs, importance)
    else:
        book, scales = _given(scales, (-(-k // run), n), format)
    scales = hardware_scales(scales, bias, group, x_scale=x_scale, y_scale=y_scale)
    if method == "gptq":
        codes, values = _compensated(w, scales.weight, run, book, hessian, pairs)
    else:
        codes, values = _nearest(w, scales.weight, run, book, pairs)
    group_shift, shift, integer_bias = finish(scales, values, run, bias, x_bits=x_format.bits)
    weights = LinearWeights(book.format, group, codes, scales.multipliers, group_shift, integer_bias,
                            scales.mult, shift)
    return QuantizedLinear(weights, x_format, y_format, x_scale, y_scale)


def dequantized(weights, *, x_scale, y_scale):
    """Effective weights float64 [N, K]: what ``x @ w.T`` would need to give the hardware's results."""
    shift = weights.shift.astype(np.int64) + weights.group_shift
    unit = np.ldexp(weights.mult.astype(np.float64), -shift) * y_scale / x_scale
    values = decode(weights).astype(np.float64)
    if weights.group is not Group.CHANNEL:
        values = values * np.repeat(weights.multipliers, run_steps(weights.group), axis=0)[:len(values)]
    return (values * unit).T


def _check_arrays(w, bias):
    """Weights as float64 [K, N], bias as float64 [N]."""
    w = np.asarray(w, dtype=np.float64)
    if w.ndim != 2 or 0 in w.shape:
        raise ValueError(f"w has shape {w.shape}: must be [N, K], neither 0")
    bias = np.zeros(len(w)) if bias is None else np.asarray(bias, dtype=np.float64)
    if bias.shape != (len(w),):
        raise ValueError(f"bias has shape {bias.shape}: must be ({len(w)},), one per output channel")
    for name, finite in (("w", np.isfinite(w).all(axis=1)), ("bias", np.isfinite(bias))):
        if not finite.all():
            raise ValueError(f"{name} of channel {int(np.argmin(finite))} is not finite")
    return np.ascontiguousarray(w.T), bias


def _check_choices(x_format, y_format, format, group, method, pairs):
    for name, value, kind in (("x_format", x_format, RowFormat), ("y_format", y_format, RowFormat),
                              ("group", group, Group)):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, not {value!r}")
    if x_format is RowFormat.INT16:
        raise ValueError("x_format is INT16: row operands have 12 bits, allowed are INT8 and INT12")
    if format != "auto" and not isinstance(format, LaneFormat):
        raise TypeError(f"format must be a LaneFormat or 'auto', not {format!r}")
    for name, value, allowed in (("method", method, METHODS), ("pairs", pairs, PAIRS)):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}: allowed are {', '.join(map(repr, allowed))}")


def choose_scales(w, run, format, pairs="least_error", importance=None):
    """Codebook and scales [G, N] of ``w`` [K, N]; the format of least error where "auto" leaves the choice."""
    options = []
    for candidate in _AUTO if format == "auto" else (format,):
        book = codebook(candidate)
        scales = group_scales(w, run, book, pairs, importance)
        error = sum(squared_error(w[k:k + run], scale, book, pairs,
                                  None if importance is None else importance[k:k + run]).sum()
                    for k, scale in zip(range(0, len(w), run), scales)) if format == "auto" else 0.0
        options.append((error, book, scales))
    return min(options, key=lambda option: option[0])[1:]


def _given(scales, shape, format):
    """Codebook and scales that the caller chose."""
    if format == "auto":
        raise ValueError("scales are given, but format is 'auto': name the format that they are of")
    scales = np.asarray(scales, np.float64)
    if scales.shape != shape or not (np.isfinite(scales) & (scales >= 0)).all():
        raise ValueError(f"scales{scales.shape} must be {shape}, finite and not negative")
    return codebook(format), scales


def _nearest(w, scales, run, book, pairs):
    return book.columns(w / np.repeat(scales, run, axis=0)[:len(w)], pairs=pairs)


def _compensated(w, scales, run, book, hessian, pairs):
    codes, values = np.empty(w.shape, np.uint8), np.empty(w.shape)
    even = len(w) // 2 * 2
    if even < len(w):
        # An odd last step has no partner: it is fixed first, and the pairs make up for its error.
        last = scales[-1]
        codes[even:], values[even:] = book.columns(w[even:] / last)
        moved = np.linalg.solve(hessian[:even, :even], hessian[:even, even:])
        w = w[:even] - moved * (values[even] * last - w[even])
        hessian = hessian[:even, :even]
    if even:
        codes[:even], values[:even] = compensate(w, scales, run, book, hessian, pairs)
        descend(w, codes[:even], values[:even], scales, run, book, hessian, pairs)
    return codes, values
