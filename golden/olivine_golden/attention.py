"""Golden model of the attention job: the executable specification of `olivine.attention`.

A row meets its keys page by page, L keys a page, and keeps an integer maximum m, a sum l and weighted
values O. For each page, with acc = q . k exact and j the position of a key that the row sees::

    s_j  = sat16(rsh(acc_j * score_mult, score_shift))              log2 domain, Q8.8
    m_b  = ceil(max s_j / 256)                                      -128 where no key is seen
    p_j  = exp2(256 * m_b - s_j)                                    11 bits; 0 where not seen
    m'   = max(m, m_b)       old = min(m' - m, 63)       new = min(m' - m_b, 63)
    O    = rsh(O, old) + rsh((sum_j p_j * v_j) << 5, new)           40 bits
    l    = rsh(l, old) + rsh((sum_j p_j) << 5, new)                 32 bits
    m    = m'                                                       at first m = -128, O = 0, l = 0

After the last page, with ``mantissa, exponent`` those of l::

    factor = rsh(reciprocal(mantissa) * o_mult, 16)
    y      = sat(rsh(sat25(rsh(O, exponent - 15)) * factor, o_shift), bits of y)
    lse    = 256 * m + log2(l) - 4096

A page that a row does not see changes nothing, so which pages are skipped, and which rows share a pass
over them, does not show in the results.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from olivine.attention.descriptor import OutputFormat
from olivine.config import GUARD_BITS, ROW_BITS
from olivine.olive.formats import LaneFormat

from .exp2 import exp2
from .log2 import log2_q8
from .ovp import decode_pairs
from .reciprocal import MIN_EXPONENT, NUMERATOR_BITS, normalize, reciprocal
from .rounding import rsh, sat, saturates

__all__ = ["LSE_EMPTY", "Group", "Partial", "Pages", "row_bounds", "pages_seen", "decode_codes", "empty", "page_scores",
           "meet_page", "attend", "merge", "finish", "attention"]

SCORE_BITS = 16
FRACTION_BITS = 8
"""Scores and logarithms have 8 fractional bits."""

MINIMUM = -128
"""m of a row that has seen no key: no score lies below it."""

SHIFT_MAX = 63
O_BITS, SUM_BITS = 40, 32

FACTOR_PLACES = 16
LSE_ONE = 4096
"""256 times the binary logarithm of l where one key at the maximum is seen, 2047 << 5."""

LSE_EMPTY = -(1 << 17)
"""Log-sum-exp of a row that saw no key."""


@dataclass(frozen=True)
class Group:
    """One KV head of one sequence.

    Parameters
    ----------
    q : int array [R, d]
        Queries as their containers hold them; values beyond 12 bits saturate. Row r is of token
        ``r // heads``.
    k_codes, v_codes : uint8 arrays [S, d]
        A nibble for each element, or a two's-complement byte in INT8. Pairs lie along d, the even element
        in the high nibble of its byte.
    position : int
        Of the first query token; key j has position j.
    score_mult : int
        Unsigned 16 bit.
    score_shift : int
        0 to 63.
    o_mult : int
        Unsigned 16 bit; 0 stands for 2**16.
    o_shift : int
        0 to 63.
    """

    q: np.ndarray
    k_codes: np.ndarray
    v_codes: np.ndarray
    position: int
    score_mult: int
    score_shift: int
    o_mult: int = 0
    o_shift: int = 25

    def __post_init__(self):
        q = self.q
        if not isinstance(q, np.ndarray) or q.dtype.kind != "i" or q.ndim != 2:
            raise ValueError(f"q is {_found(q)}: must be a signed integer array [R, d]")
        shape = np.shape(self.k_codes)[:1] + q.shape[1:]
        for name in ("k_codes", "v_codes"):
            codes = getattr(self, name)
            if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8 or codes.shape != shape:
                raise ValueError(f"{name} is {_found(codes)}: must be uint8{shape}")
        for name, bits in (("score_mult", 16), ("score_shift", 6), ("o_mult", 16), ("o_shift", 6)):
            if not 0 <= getattr(self, name) < 1 << bits:
                raise ValueError(f"{name} is {getattr(self, name)}: allowed is 0 to {(1 << bits) - 1}")

    @property
    def rows(self):
        return len(self.q)

    @property
    def keys(self):
        return len(self.k_codes)


def _found(value):
    return f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else repr(value)


class Partial(NamedTuple):
    """Running state of rows, int64: m [R], l [R], O [R, d]."""

    m: np.ndarray
    l: np.ndarray  # noqa: E741 - its name in the formulas
    o: np.ndarray


class Pages(NamedTuple):
    """The pages that a chunk meets: from ``first`` up to before ``end``, the last with ``last_keys`` keys."""

    first: int
    end: int
    last_keys: int


def row_bounds(keys, rows, heads, causal, window, position):
    """Positions of the first key that each row sees and of the first that it sees no more.

    Returns
    -------
    low, high : int64 arrays [rows]
        ``low`` may lie before the first key. A row whose ``high`` is not above ``low`` and 0 sees nothing.
    """
    if heads < 1 or window < 0:
        raise ValueError(f"heads is {heads}, window {window}: heads must be 1 or more, window 0 or more")
    positions = position + np.arange(rows) // heads
    low = positions - window + 1 if window else np.zeros_like(positions)
    high = np.minimum(keys, positions + 1) if causal else np.full_like(positions, keys)
    return low, high


def pages_seen(keys, rows, heads, causal, window, position, lanes, chunk_rows):
    """The `Pages` of each chunk of ``chunk_rows`` consecutive rows; (0, 0, 0) where no row sees a key."""
    low, high = row_bounds(keys, rows, heads, causal, window, position)
    return [_pages(low[first:first + chunk_rows], high[first:first + chunk_rows], lanes)
            for first in range(0, rows, chunk_rows)]


def _pages(low, high, lanes):
    """Neither bound falls from one token to the next."""
    first, end = max(int(low[0]), 0), int(high[-1])
    if end <= first:
        return Pages(0, 0, 0)
    pages = -(-end // lanes)
    return Pages(first // lanes, pages, end - (pages - 1) * lanes)


def decode_codes(codes, fmt):
    """Integers [keys, d] that the lanes see, as float64, and the number of illegal bytes."""
    if fmt is LaneFormat.INT8:
        return codes.view(np.int8).astype(np.float64), 0
    if codes.shape[1] % 2:
        raise ValueError(f"d is {codes.shape[1]}: must be even in {fmt.name}")
    if codes.size and codes.max() > 15:
        raise ValueError(f"a code of {codes.max()} is no nibble: {fmt.name} codes are 0 to 15")
    first, second, illegal = decode_pairs(codes[:, 0::2] << 4 | codes[:, 1::2], fmt)
    return np.stack([first, second], axis=2).reshape(codes.shape).astype(np.float64), int(illegal.sum())


def _product(a, b):
    """Exact in float64 (sums stay below 2**28), and much faster than integer matrix products."""
    return (a @ b).astype(np.int64)


def _combine(state, m, l, o):  # noqa: E741
    """Both parts of rows, ``state`` and (m, l, O), brought to the greater maximum and added."""
    greater = np.maximum(state.m, m)
    old, new = (np.minimum(greater - part, SHIFT_MAX) for part in (state.m, m))
    state = Partial(greater, rsh(state.l, old) + rsh(l, new),
                    rsh(state.o, old[:, None]) + rsh(o, new[:, None]))
    if (state.l >> SUM_BITS).any() or saturates(state.o, O_BITS):
        raise OverflowError(f"l reaches {state.l.max()}, O {np.abs(state.o).max()}: more keys than "
                            f"{SUM_BITS} and {O_BITS} bits hold")
    return state


def empty(rows, d):
    """The `Partial` of rows that have met no page."""
    return Partial(np.full(rows, MINIMUM), np.zeros(rows, np.int64), np.zeros((rows, d), np.int64))


def page_scores(queries, k, seen, score_mult, score_shift):
    """Scores [R, keys] of queries within 12 bits for a page's keys, and how many of those ``seen`` saturated."""
    rounded = rsh(_product(queries.astype(np.float64), k.T) * score_mult, score_shift)
    scores = sat(rounded, SCORE_BITS)
    return scores, int(((scores != rounded) & seen).sum())


def meet_page(state, scores, seen, v):
    """The `Partial` of rows after one more page: ``scores`` and ``seen`` [R, keys], values [keys, d]."""
    # The floor of the negated score is the ceiling of the score, negated.
    greatest = np.where(seen, scores, MINIMUM << FRACTION_BITS).max(axis=1)
    m = -(-greatest >> FRACTION_BITS)
    p = np.where(seen, exp2(np.where(seen, (m[:, None] << FRACTION_BITS) - scores, 0)), 0)
    return _combine(state, m, p.sum(axis=1) << GUARD_BITS, _product(p.astype(np.float64), v) << GUARD_BITS)


def _attend_chunk(group, rows, low, high, lanes, formats):
    """`attend` for the rows of the slice ``rows``, which share a pass over the pages."""
    queries = sat(group.q[rows], ROW_BITS)
    tallies = {"sat_row": saturates(group.q[rows], ROW_BITS), "sat_score": 0, "illegal": 0}
    low, high = low[rows], high[rows]
    state = empty(*queries.shape)
    pages = _pages(low, high, lanes)
    for page in range(pages.first, pages.end):
        first = page * lanes
        keys = slice(first, first + (pages.last_keys if page == pages.end - 1 else lanes))
        (k, illegal_k), (v, illegal_v) = (
            decode_codes(codes[keys], fmt) for codes, fmt in zip((group.k_codes, group.v_codes), formats))
        position = first + np.arange(len(k))
        seen = (position >= low[:, None]) & (position < high[:, None])
        scores, saturated = page_scores(queries, k, seen, group.score_mult, group.score_shift)
        tallies["sat_score"] += saturated
        tallies["illegal"] += illegal_k + illegal_v
        state = meet_page(state, scores, seen, v)
    return state, tallies


def attend(group, *, lanes, key_format, value_format, heads, causal, window):
    """Let all rows of a group attend to its keys, in one pass over the pages.

    Parameters
    ----------
    group : Group
    lanes : int
        L, keys of a page.
    key_format, value_format : LaneFormat
    heads : int
        Query heads that share the KV head.
    causal : bool
        A row sees no key after its own position.
    window : int
        A row sees the latest ``window`` positions up to its own (and, if not causal, all after it); 0: no
        window.

    Returns
    -------
    partial : Partial
    tallies : dict
        ``sat_row``, ``sat_score``, ``illegal`` as `olivine.control.job.TALLIES` says. Scores count where
        the row sees the key; illegal bytes once for each page met, of the keys before the last row's high
        bound.
    """
    return _attend(group, group.rows, lanes, key_format, value_format, heads, causal, window)


def _attend(group, chunk_rows, lanes, key_format, value_format, heads, causal, window):
    """`attend`, ``chunk_rows`` rows at a time; tallies add up."""
    formats = LaneFormat(key_format), LaneFormat(value_format)
    low, high = row_bounds(group.keys, group.rows, heads, causal, window, group.position)
    parts, tallies = [empty(0, group.q.shape[1])], {"sat_row": 0, "sat_score": 0, "illegal": 0}
    for first in range(0, group.rows, max(chunk_rows, 1)):
        part, counts = _attend_chunk(group, slice(first, first + chunk_rows), low, high, lanes, formats)
        parts.append(part)
        tallies = {name: tallies[name] + counts[name] for name in tallies}
    return Partial(*map(np.concatenate, zip(*parts))), tallies


def merge(partials):
    """Merge the partial results of the same rows over different keys, in the order given.

    Where two are brought to the same maximum the smaller one is rounded, so another order may differ in the
    last bits.
    """
    partials = list(partials)
    if not partials:
        raise ValueError("partials is empty: must hold one partial result or more")
    state = empty(*partials[0].o.shape)
    for partial in partials:
        state = _combine(state, *partial)
    return state


def finish(partial, o_mult, o_shift, o_format):
    """Divide by the sum of the weights and requantize.

    Parameters
    ----------
    partial : Partial
    o_mult, o_shift : int
        ``y`` is ``O / l * o_mult / 2**(o_shift - 16)``. An ``o_mult`` of 0 stands for 2**16, which with an
        ``o_shift`` of 25 makes 7 fractional bits.
    o_format : OutputFormat
        INT8, INT12 or INT16.

    Returns
    -------
    y : int64 array [R, d]
    lse : int64 array [R]
        Binary logarithm of the sum of 2**(s / 256) with 8 fractional bits; `LSE_EMPTY` without a key.
    saturated : int
        Results that saturated.
    """
    bits = OutputFormat(o_format).bits
    if OutputFormat(o_format) is OutputFormat.PARTIAL:
        raise ValueError("o_format is PARTIAL: partial results are not finished")
    exponent, mantissa = normalize(partial.l)
    factor = rsh(reciprocal(mantissa) * (o_mult or 1 << FACTOR_PLACES), FACTOR_PLACES)
    shifted = rsh(partial.o, np.maximum(exponent - MIN_EXPONENT, 0)[:, None])
    operand = sat(shifted, NUMERATOR_BITS)
    rounded = rsh(operand * factor[:, None], o_shift)
    y = sat(rounded, bits)
    lse = (partial.m << FRACTION_BITS) + log2_q8(partial.l) - LSE_ONE
    saturated = (y != rounded) | (operand != shifted)
    return y, np.where(partial.l == 0, LSE_EMPTY, lse), int(saturated.sum())


def attention(group, *, lanes, chunk_rows, key_format, value_format, heads, causal, window, o_format):
    """Compute one group of an attention job.

    Parameters
    ----------
    chunk_rows : int
        Consecutive rows that share a pass over the pages: P times the contexts in use.
    o_format : OutputFormat
    group, lanes, key_format, value_format, heads, causal, window
        As in `attend`.

    Returns
    -------
    dict
        ``partial``, a `Partial`; ``y`` int64 [R, d], or None if ``o_format`` is PARTIAL; ``lse`` int64 [R];
        ``tallies``: ``sat_row``, ``sat_score``, ``sat_output``, ``illegal``. Illegal bytes count in every
        chunk that meets them.
    """
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows is {chunk_rows}: must be 1 or more")
    o_format = OutputFormat(o_format)
    partial, tallies = _attend(group, chunk_rows, lanes, key_format, value_format, heads, causal, window)
    whole = o_format is not OutputFormat.PARTIAL
    y, lse, saturated = finish(partial, group.o_mult, group.o_shift, o_format if whole else OutputFormat.INT16)
    return {"partial": partial, "y": y if whole else None, "lse": lse,
            "tallies": {**tallies, "sat_output": saturated if whole else 0}}
