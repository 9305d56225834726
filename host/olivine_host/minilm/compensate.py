"""Making up, in one linear layer, for the errors of the quantized layers before it.

Error-compensated rounding takes a layer's float weights as what it should come near to. Its inputs, though,
are those of a quantized model: they differ from the float model's, and other weights than the float ones
give the float model's results from them best. `fitted` finds these, before rounding; `with_bias_corrected`
removes what is left on average, after it.
"""

from dataclasses import replace

import numpy as np
import torch

__all__ = ["RIDGE", "fitted", "with_bias_corrected"]

RIDGE = 0.05
"""Pull towards the float weights, as a share of the mean square of an input: calibration text is a sample."""


def fitted(weight, x, reference):
    """Weights [N, K] that give, from the quantized model's rows ``x``, nearly the float model's results.

    Least squares over calibration rows, with a ridge that holds back where inputs vary little::

        minimise |x w'^T - reference w^T|^2 + ridge |w' - w|^2

    Parameters
    ----------
    weight : torch.Tensor [N, K]
    x, reference : torch.Tensor [tokens, K]
        Input of the layer in the quantized and in the float model.

    Returns
    -------
    torch.Tensor, float64 [N, K]
    """
    weight, x, reference = weight.double(), x.double(), reference.double()
    square, cross = x.T @ x, reference.T @ x
    ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    # w' (square + ridge) = w (cross + ridge), and square + ridge is symmetric.
    return torch.linalg.solve(square + ridge, (weight @ (cross + ridge)).T).T


def with_bias_corrected(quantized, error):
    """The layer with its bias moved by ``error`` [N], real values, as far as 32 bits allow."""
    weights = quantized.weights
    # Value of one unit of the partial sum, which is the bias's unit.
    unit = quantized.y_scale * np.ldexp(weights.mult.astype(np.float64), -weights.shift.astype(np.int64))
    limits = np.iinfo(np.int32)
    bias = np.clip(weights.bias + np.rint(error / unit), limits.min, limits.max).astype(np.int32)
    return replace(quantized, weights=replace(weights, bias=bias))
