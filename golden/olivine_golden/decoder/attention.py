"""Attention of many rows, heads and sequences at once: `olivine_golden.attention` on integers held as float64.

Everything has axes [sequence, KV head, query head of it, token, ...]. The arithmetic is that of one page after the
other; a page that a row does not see changes nothing for it, so rows may meet more pages than on the accelerator.
"""

from typing import NamedTuple

import numpy as np
from olivine.config import GUARD_BITS, ROW_BITS

from ..attention import (
    FACTOR_PLACES,
    FRACTION_BITS,
    LSE_ONE,
    MINIMUM,
    SCORE_BITS,
    SHIFT_MAX,
)
from ..exp2 import exp2
from ..log2 import log2_q8
from ..reciprocal import MIN_EXPONENT, NUMERATOR_BITS, normalize, reciprocal
from ..rounding import rsh
from .exact import clamp, factor, rounded, scaled

__all__ = ["HeadFactors", "attend", "finish", "page_scores"]

UNSEEN = -float(1 << 24)
"""Score of a key that a row does not see: below all others by more than any power of two reaches."""

_FAR = 12 << FRACTION_BITS
"""From here on a probability is 0."""

_POWERS = exp2(np.arange(_FAR + 1)).astype(np.float64)


class HeadFactors:
    """Of a layer's `AttentionScales`, shaped [KV heads, query heads of each, 1, 1]."""

    def __init__(self, config, scales):
        shape = config.kv_heads, config.group, 1, 1
        self.score = factor(scales.score_mult, scales.score_shift).reshape(shape)
        self.o_mult = np.where(scales.o_mult == 0, 1 << FACTOR_PLACES, scales.o_mult).reshape(shape[:3])
        self.o_shift = factor(1, scales.o_shift).reshape(shape)


class State(NamedTuple):
    """Running state of rows: m and l [B, KV, G, T], O [B, KV, G, T, d]."""

    m: np.ndarray
    l: np.ndarray  # noqa: E741 - its name in the formulas
    o: np.ndarray


def page_scores(q, k, by):
    """Scores of rows ``q`` [B, KV, G, T, d] for keys ``k`` [B, KV, S, d]."""
    return scaled(q @ k.swapaxes(-1, -2)[:, :, None], by, SCORE_BITS)


def _meet(state, scores, v):
    """Join a page to the state of the rows that meet it, in place."""
    m = np.maximum(np.ceil(scores.max(-1) * 2.0 ** -FRACTION_BITS), MINIMUM)
    far = np.minimum((m * (1 << FRACTION_BITS))[..., None] - scores, _FAR)
    p = _POWERS.take(far.astype(np.int32))
    greater = np.maximum(state.m, m)
    old, new = (np.exp2(-np.minimum(greater - part, SHIFT_MAX)) for part in (state.m, m))
    new *= 1 << GUARD_BITS
    state.m[...] = greater
    for total, share, part in ((state.l, p.sum(-1), ...), (state.o, p @ v[:, :, None], (..., None))):
        total *= old[part]
        rounded(total)
        total += rounded(share * new[part])


def attend(q, k, v, hidden, lanes, by):
    """The `State` of rows after all keys.

    Parameters
    ----------
    q : float64 [B, KV, G, T, d]
        Within int12.
    k, v : float64 [B, KV, S, d]
        As the lanes see them.
    hidden : callable
        ``hidden(first, end)`` of a page's keys: the first token that sees one of them, and what to add to the scores
        of the tokens from that on: 0, or `UNSEEN` where a row does not see a key; broadcasts to [B, KV, G, T, keys].
    lanes : int
        L, keys of a page.
    by : HeadFactors
    """
    rows = q.shape[:-1]
    state = State(np.full(rows, float(MINIMUM)), np.zeros(rows), np.zeros(q.shape))
    for first in range(0, k.shape[2], lanes):
        page = slice(first, min(first + lanes, k.shape[2]))
        start, mask = hidden(page.start, page.stop)
        if start == rows[-1]:
            continue
        scores = page_scores(q[..., start:, :], k[:, :, page], by.score)
        scores += mask
        _meet(State(*(part[:, :, :, start:] for part in state)), scores, v[:, :, page])
    return state


def finish(state, by):
    """Results int12 [B, KV, G, T, d] and their log-sum-exps int64 [B, KV, G, T]; each row saw a key."""
    total = state.l.astype(np.int64)
    exponent, mantissa = normalize(total)
    divisor = rsh(reciprocal(mantissa) * by.o_mult, FACTOR_PLACES).astype(np.float64)
    y = state.o * np.exp2(-np.maximum(exponent - MIN_EXPONENT, 0.0))[..., None]
    clamp(rounded(y), NUMERATOR_BITS)
    y *= divisor[..., None]
    lse = (state.m.astype(np.int64) << FRACTION_BITS) + log2_q8(total) - LSE_ONE
    return scaled(y, by.o_shift, ROW_BITS), lse
