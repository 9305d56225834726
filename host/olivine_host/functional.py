"""`linear` on one's own numpy arrays: quantize, run on a backend, return float."""

import numpy as np
from olivine.linear.descriptor import RowFormat

from .arguments import choice, chosen_backend, positive, real_array
from .recipe import FORMATS, GROUPS, Recipe
from .rows import quantize_rows, symmetric_scale

__all__ = ["linear"]

Y_FORMATS = {row_format.bits: row_format for row_format in RowFormat}
X_FORMATS = {bits: row_format for bits, row_format in Y_FORMATS.items() if bits <= 12}
MAX_ROWS = (1 << 20) - 1
"""What the descriptor's m and n hold."""


def _matrix(name, value, dimensions):
    """``value`` as float64, checked, and of the wanted number of dimensions."""
    if np.ndim(value) != len(dimensions) and np.asarray(value).dtype.kind in "fiu":
        raise ValueError(f"{name} has shape {np.shape(value)}: must be [{', '.join(dimensions)}]")
    return real_array(name, value)


def linear(x, w, bias=None, *, x_scale=None, y_scale=None, x_bits=12, y_bits=16, format="int8", group=None,
           method="nearest", backend="golden", preset="edge", config=None, details=False):
    """``x @ w.T + bias`` as Olivine computes it, with `torch.nn.functional.linear`'s shapes.

    Parameters
    ----------
    x : array [M, K]
        Activations, real and finite.
    w : array [N, K]
        Weights.
    bias : array [N] or None
    x_scale, y_scale : float or None
        Value of one step of the quantized activations and results. By default the largest magnitude
        of ``x``, and of the float product, just fit; a deployed layer has static scales, from
        calibration, and should be given them.
    x_bits : int
        8 or 12.
    y_bits : int
        8, 12 or 16.
    format : str
        ``"int8"``, ``"ovp4"`` (the better of its int and flint types) or ``"int4"``.
    group : str, int or None
        Input channels that share a scale: ``"channel"``, 64 or 128. None takes ``"channel"`` for int8
        and 64 for 4-bit formats.
    method : str
        ``"nearest"``, or ``"gptq"``: error compensation with ``x`` itself as calibration data.
    backend : str or Backend
        ``"golden"``, ``"verilator"`` or ``"icarus"``: the results are the same bits. Or an object as
        `olivine_host.backends.get_backend` returns.
    preset : str
    config : AcceleratorConfig or None
        Instead of a preset.
    details : bool
        Return more.

    Returns
    -------
    y : float64 [M, N]
    result : LinearResult, quantized : QuantizedLinear
        Only with ``details``: integer results and the job's status, and the quantized weights.

    Raises
    ------
    TypeError, ValueError
        Naming what is wrong: a dtype, a shape, a value that is not finite, an unknown name, a
        reduction larger than the configuration holds.
    """
    # The quantizer imports more than the check of arguments needs.
    from .quantize import quantize_linear
    x = _matrix("x", x, ("M", "K"))
    w = _matrix("w", w, ("N", "K"))
    if w.shape[1] != x.shape[1]:
        raise ValueError(f"w has shape {w.shape} and x {x.shape}: both must have K columns")
    if bias is not None:
        bias = _matrix("bias", bias, ("N",))
        if len(bias) != len(w):
            raise ValueError(f"bias has shape {bias.shape}: must be ({len(w)},), one for each row of w")
    for name, size in (("M", len(x)), ("N", len(w))):
        if size > MAX_ROWS:
            raise ValueError(f"{name} is {size}: a job has at most {MAX_ROWS}")
    recipe = Recipe(format, None if group is None else str(group), method)
    x_format, y_format = choice("x_bits", x_bits, X_FORMATS), choice("y_bits", y_bits, Y_FORMATS)
    backend = chosen_backend(backend, preset, config)
    if x.shape[1] > backend.config.max_reduction:
        raise ValueError(f"K is {x.shape[1]}: {backend.config.name!r} holds reductions of at most "
                         f"{backend.config.max_reduction}")

    if x_scale is None:
        x_scale = symmetric_scale(np.abs(x).max(), x_format)
    if y_scale is None:
        y_scale = symmetric_scale(np.abs(x @ w.T + (0 if bias is None else bias)).max(), y_format)
    x_scale, y_scale = positive("x_scale", x_scale), positive("y_scale", y_scale)
    x_int = quantize_rows(x, x_scale, x_format)
    quantized = quantize_linear(
        w, bias, x_scale=x_scale, y_scale=y_scale, x_format=x_format, y_format=y_format,
        format=FORMATS[recipe.format], group=GROUPS[recipe.group], method=recipe.method,
        hessian=x.T @ x / len(x) if recipe.method == "gptq" else None)
    result = backend.run_linear(quantized.weights, x_int, x_format, y_format)
    y = result.y * quantized.y_scale
    return (y, result, quantized) if details else y
