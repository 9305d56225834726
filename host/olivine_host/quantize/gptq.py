"""Error-compensated rounding (GPTQ), a pair of weights at a time.

With ``H = X^T X`` of the layer's inputs, codes ``V`` of scaled weights ``W`` [K, N] cost
``trace((V - W)^T H (V - W))``: the squared error of the outputs. Pairs are fixed one after another.
Once a pair is fixed, the weights that are still free move to where they best make up for its error
(the optimal-brain update), so that each pair is rounded near a target which carries all the errors
before it.

With ``H^-1 = U^T U``, U upper triangular, the inverse Hessian of the steps from j on is
``U[j:, j:]^T U[j:, j:]``. Eliminating the pair (j, j + 1) with errors ``e`` moves the rest by
``-(e P^-1) H^-1[pair, rest]``, P being the pair's 2 x 2 block of that inverse. In terms of U these are
two triangular steps, ``a = e0 / u00`` and ``b = (e1 - a u01) / u11``, and the rest moves by
``-(a U[j, rest] + b U[j + 1, rest])``; the pair's own cost is ``a^2 + b^2``. The second element's
target moves with the first's error in the same way, and :meth:`Codebook.pairs` chooses both codes for
the least cost.

Pairs whose inputs are largest go first, while many free weights are left to make up for them. This
changes only the order of elimination: pairs, groups and memory layout stay as they are.
"""

import numpy as np

__all__ = ["DAMPING", "damped", "compensate"]

DAMPING = 0.01
"""Added to the Hessian's diagonal, as a fraction of its mean: keeps rare inputs from fitting noise."""

_BLOCK = 128
"""Steps between two updates of all the rest; inside a block only the block is kept up to date."""


def damped(hessian, k, damping=DAMPING):
    """The Hessian as float64 [K, K], symmetric and positive definite.

    Raises
    ------
    ValueError
        If it has another shape, is not finite or is zero.
    """
    h = np.array(hessian, dtype=np.float64)
    if h.shape != (k, k):
        raise ValueError(f"hessian has shape {h.shape}: must be ({k}, {k}), the weights' reduction")
    if not np.isfinite(h).all():
        raise ValueError("hessian has a value that is not finite")
    mean = np.diagonal(h).mean()
    if mean <= 0:
        raise ValueError(f"hessian has a mean diagonal of {mean}: must be above 0, calibrate on real inputs")
    h = (h + h.T) / 2
    h[np.diag_indices(k)] += damping * mean
    return h


def _elimination_order(h):
    """Steps [K], pair by pair, the pairs with the largest inputs first."""
    size = np.diagonal(h)
    first = 2 * np.argsort(-(size[0::2] + size[1::2]), kind="stable")
    return np.stack([first, first + 1], axis=1).ravel()


def compensate(w, scales, run, book, hessian, pairs="least_error"):
    """Round ``w`` to the codes of ``book``, compensating errors.

    Parameters
    ----------
    w : float64 [K, N]
        Weights, K even.
    scales : float64 [ceil(K / run), N]
        Positive scales, one per group of ``run`` steps.
    run : int
        Even.
    book : Codebook
    hessian : float64 [K, K]
        As from `damped`.
    pairs : str
        As for :meth:`Codebook.pairs`.

    Returns
    -------
    codes : uint8 [K, N]
    values : float64 [K, N]
        In units of the scales.
    """
    k, n = w.shape
    order = _elimination_order(hessian)
    inverse = np.linalg.inv(hessian[np.ix_(order, order)])
    u = np.linalg.cholesky((inverse + inverse.T) / 2).T
    work = w[order]
    codes, values = np.empty((k, n), np.uint8), np.empty((k, n))
    for start in range(0, k, _BLOCK):
        stop = min(start + _BLOCK, k)
        errors = np.empty((stop - start, n))
        for j in range(start, stop, 2):
            step = order[j]
            scale = scales[step // run]
            u00, u01, u11 = u[j, j], u[j, j + 1], u[j + 1, j + 1]
            codes[step:step + 2], values[step:step + 2] = book.pairs(
                work[j] / scale, work[j + 1] / scale, (u00, u01, u11), rule=pairs)
            a = (work[j] - values[step] * scale) / u00
            b = (work[j + 1] - a * u01 - values[step + 1] * scale) / u11
            errors[j - start], errors[j - start + 1] = a, b
            work[j + 2:stop] -= u[j:j + 2, j + 2:stop].T @ errors[j - start:j - start + 2]
        work[stop:] -= u[start:stop, stop:].T @ errors
    return codes, values
