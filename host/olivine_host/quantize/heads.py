"""Attention in integers: queries, keys and values by head, and the scales of scores and results."""

import math

import numpy as np
from olivine.olive.formats import LaneFormat

from .codes import codebook
from .scales import factor_of
from .search import OUTLIER_FACTORS, PLAIN_FACTORS, start_scale

__all__ = ["LOG2_E", "head_format", "head_scale", "head_codes", "score_scale", "output_scale"]

LOG2_E = math.log2(math.e)
"""Scores are binary logarithms: probabilities are powers of two."""

SCORE_STEPS = 256
"""Steps of a score in one octave."""

_AUTO = (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)


def _error(x, scale, book):
    q = x.T / scale
    return float(((q - book.columns(q)[1]) ** 2).sum()) * scale * scale


def head_scale(x, lane_format):
    """Scale of one head's keys or values ``x`` [S, d], pairs along d, and its squared error.

    In INT8 the largest magnitude just fits; in four bits the candidate of least squared error wins.
    """
    book = codebook(lane_format)
    if not np.any(x):
        return 1.0, 0.0
    if lane_format is LaneFormat.INT8:
        scale = float(np.abs(x).max()) / book.normal.top
        return scale, _error(x, scale, book)
    start = float(start_scale(x.reshape(-1, 1), book)[0])
    factors = PLAIN_FACTORS if book.outlier is None else OUTLIER_FACTORS
    errors = [_error(x, start * factor, book) for factor in factors]
    best = int(np.argmin(errors))
    return start * float(factors[best]), errors[best]


def head_format(heads, lane_format):
    """The format itself, or of "auto" the one of the outlier-victim formats with the smaller error over all
    ``heads`` [H, S, d]."""
    if lane_format != "auto":
        return lane_format
    errors = [sum(head_scale(head, fmt)[1] for head in heads) for fmt in _AUTO]
    return _AUTO[int(np.argmin(errors))]


def head_codes(x, scale, lane_format):
    """Codes uint8 [S, d] of ``x``, pairs along d."""
    book = codebook(lane_format)
    if lane_format is LaneFormat.INT8:
        return np.clip(np.rint(x / scale), -128, 127).astype(np.int8).view(np.uint8)
    return np.ascontiguousarray(book.columns(x.T / scale)[0].T)


def score_scale(q_scale, k_scale, scale):
    """``score_mult`` and ``score_shift`` for scores ``scale * q . k``, a natural logarithm.

    A scale of 0 makes all scores equal. ValueError if it is negative or beyond what the shift holds.
    """
    ratio = q_scale * k_scale * scale * LOG2_E * SCORE_STEPS
    if not ratio:
        return 0, 0
    if ratio < 0:
        raise ValueError(f"scale is {scale!r}: must not be negative")
    return factor_of("scores", ratio, 0)


def output_scale(v_scale, o_scale):
    """``o_mult`` and ``o_shift`` for results in steps of ``o_scale``."""
    # The hardware gives O / l * o_mult * 2**(16 - o_shift).
    return factor_of("results", v_scale / o_scale, 16)
