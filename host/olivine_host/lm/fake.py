"""Weights as the quantizer would leave them, in torch, with gradients that go straight through."""

import numpy as np
import torch
from olivine.linear.descriptor import Group, run_steps

from ..quantize.codes import codebook
from .quantize import Grid

__all__ = ["FakeQuantizer"]


class FakeQuantizer:
    """Rounds one tensor [N, K] to the nearest pairs on a `Grid`: what `quantize_linear` does with "nearest".

    Parameters
    ----------
    grid : Grid
    run : int
        Steps that share a scale.
    k : int
    """

    def __init__(self, grid, run, k):
        self.grid, book = grid, codebook(grid.format)
        self._scale = torch.from_numpy(np.repeat(grid.scales, run, axis=0)[:k].T.copy()).float()
        self._normal, self._top = _Nearest(book.normal), book.normal.top
        self._outlier = _Nearest(book.outlier) if book.outlier else None

    @classmethod
    def of(cls, quantized):
        """On the grid of a `QuantizedLinear`: the scales that the hardware has."""
        weights, k = quantized.weights, len(quantized.weights.codes)
        shift = weights.shift.astype(np.int64) + weights.group_shift
        scales = np.ldexp(weights.mult.astype(np.float64), -shift)[None] * quantized.y_scale / quantized.x_scale
        if weights.group is Group.CHANNEL:
            return cls(Grid(weights.format, scales), k, k)
        return cls(Grid(weights.format, weights.multipliers * scales), run_steps(weights.group), k)

    def __call__(self, weight):
        with torch.no_grad():
            change = self.values(weight / self._scale) * self._scale - weight
        return weight + change

    def values(self, q):
        """Values of scaled weights [N, K]; each pair takes the kind of least error."""
        values = self._normal(q)
        if self._outlier is None:
            return values
        even = q.shape[1] // 2 * 2
        pairs, chosen = q[:, :even].unflatten(1, (-1, 2)), values[:, :even].unflatten(1, (-1, 2))
        # Few pairs have an element past the normal values; only those can want an outlier.
        large = (pairs.abs() > self._top).any(2).nonzero(as_tuple=True)
        q, kinds = pairs[large], [chosen[large]]
        outliers = self._outlier(q)
        for keep in (0, 1):
            kind = torch.zeros_like(q)
            kind[:, keep] = outliers[:, keep]
            kinds.append(kind)
        kinds = torch.stack(kinds)
        best = (kinds - q).square().sum(2).argmin(0)
        chosen[large] = kinds[best, torch.arange(len(q))]
        return values


class _Nearest:
    """The values of a `Table` nearest to what it is given; a tie goes to the larger value."""

    def __init__(self, table):
        self._first = 2 * float(table.values[0]) - 1
        halves = np.arange(self._first, 2 * table.values[-1] + 1) / 2
        self._values = torch.from_numpy(table.nearest(halves)).float()

    def __call__(self, q):
        index = (torch.floor(2 * q) - self._first).clamp_(0, len(self._values) - 1)
        return self._values[index.long()]
