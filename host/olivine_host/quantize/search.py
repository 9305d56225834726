"""Scales of least squared error, searched around a start at three standard deviations.

The error is that of the finished codes, victims included: a smaller scale rounds the many small
weights better and makes more outliers, each of which costs its neighbour.
"""

import numpy as np

__all__ = ["OUTLIER_FACTORS", "PLAIN_FACTORS", "start_scale", "best_scales", "group_scales", "squared_error"]

OUTLIER_FACTORS = tuple(np.round(np.concatenate([[1.0], np.arange(0.41, 2.50, 0.04)]), 2))
"""Candidates for outlier-victim formats, as multiples of the start.

The authors' run scripts try 0.75 to 2.49 in steps of 0.02 on whole channels. Groups of 64 weights
often have no outlier at all and want smaller scales, so the range begins lower; the step is coarser.
"""

PLAIN_FACTORS = tuple(np.round(np.arange(1.0, 0.39, -0.02), 2))
"""Candidates for plain integers, as multiples of the scale that clips nothing."""


def start_scale(w, book):
    """Where the search starts, one scale per column of ``w`` [K, N].

    The largest normal value stands for three standard deviations (around the mean), or for the
    largest magnitude where the format has no outliers.
    """
    if book.outlier is None:
        return np.abs(w).max(axis=0) / book.normal.top
    mean, deviation = w.mean(axis=0), w.std(axis=0)
    reach = np.maximum(np.abs(mean + 3 * deviation), np.abs(mean - 3 * deviation))
    return reach / book.normal.top


def squared_error(w, scale, book, pairs="least_error", importance=None):
    """Squared error of ``w`` [K, N] coded with ``scale`` [N], summed over K.

    ``importance`` [K] weighs the steps; without it each counts 1.
    """
    safe = np.where(scale > 0, scale, 1.0)
    q = w / safe
    _, values = book.columns(q, pairs=pairs)
    error = (q - values) ** 2
    total = error.sum(axis=0) if importance is None else importance @ error
    return total * safe * safe


def best_scales(w, book, pairs="least_error", importance=None, factors=None):
    """The candidate of least squared error for each column of ``w`` [K, N]; the first wins on equality.

    A column of zeros gets scale 0.
    """
    if factors is None:
        factors = PLAIN_FACTORS if book.outlier is None else OUTLIER_FACTORS
    start = start_scale(w, book)
    best = start * factors[0]
    least = squared_error(w, best, book, pairs, importance)
    for factor in factors[1:]:
        scale = start * factor
        error = squared_error(w, scale, book, pairs, importance)
        better = error < least
        best = np.where(better, scale, best)
        least = np.where(better, error, least)
    return best


def group_scales(w, run, book, pairs="least_error", importance=None):
    """Scales [ceil(K / run), N] of ``w`` [K, N], one search per group of ``run`` steps."""
    return np.stack([
        best_scales(w[k:k + run], book, pairs, None if importance is None else importance[k:k + run])
        for k in range(0, len(w), run)])
