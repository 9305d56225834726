"""Coordinate descent after GPTQ: each pair is chosen again, given all the others.

GPTQ fixes a pair knowing only the errors before it. A sweep afterwards looks at every pair once more
with all the others fixed. The cost is quadratic, so the pair has a best real-valued target and a 2 x 2
Hessian of its own, and the same choice of codes applies. The cost never rises: a pair that cannot be
improved keeps its codes.
"""

import numpy as np

__all__ = ["SWEEPS", "descend"]

SWEEPS = 2
"""On MiniLM two sweeps took 2 to 4 % off the output error, a third 0.5 %."""

_BLOCK = 64


def _cost(error, h):
    """error^T h error of each column of ``error`` [2, N]."""
    return np.einsum("in,ij,jn->n", error, h, error)


def descend(w, codes, values, scales, run, book, hessian, pairs="least_error", sweeps=SWEEPS):
    """Improve ``codes`` and ``values`` in place; the parameters are those of `gptq.compensate`."""
    k = len(w)
    error = values * np.repeat(scales, run, axis=0)[:k] - w
    for _ in range(sweeps):
        for start in range(0, k, _BLOCK):
            rows = hessian[start:start + _BLOCK]
            slope = rows @ error
            for j in range(start, min(start + _BLOCK, k), 2):
                pair, here = slice(j, j + 2), slice(j - start, j - start + 2)
                scale = scales[j // run]
                h = hessian[pair, pair]
                inverse = np.linalg.inv(h)
                u = np.linalg.cholesky(inverse).T
                # Where the pair's error would be if its codes were real numbers.
                free = error[pair] - inverse @ slope[here]
                target = (w[pair] + free) / scale
                new_codes, new_values = book.pairs(*target, (u[0, 0], u[0, 1], u[1, 1]), rule=pairs)
                new_error = np.stack(new_values) * scale - w[pair]
                better = _cost(new_error - free, h) < _cost(error[pair] - free, h)
                change = np.where(better, new_error - error[pair], 0.0)
                codes[pair] = np.where(better, new_codes, codes[pair])
                values[pair] = np.where(better, new_values, values[pair])
                error[pair] += change
                slope += rows[:, pair] @ change
