"""Golden model of attention over the cache: rows of one KV head meet the keys of segments.

A *segment* is consecutive positions of one sequence, from the first of a page on, and a mask of the rows that see it
(bit ``r % 64`` for row r). With ``own = position + r // heads``, row r sees the key at position j of a segment that
its bit names if::

    low_r <= j < high_r     low_r = own - window + 1, or 0 without a window
                            high_r = own + 1 if causal, else no bound

tree
    ``high_r`` is ``position``, the committed length, and from there on the row's mask of 64 bits decides alone: the
    key at ``position + j`` is seen if j < 64 and its bit j is set.
cells
    Of a sequence of heavy hitters. The one segment starts at page 0 and counts cells instead of positions. A cell is
    seen if it holds a token whose position obeys the plain rule.

Rows share passes over the pages in chunks, as everywhere. A chunk meets the segments in order, and leaves out those
that none of its rows has a bit for. Of a segment it meets the pages from ``max(first, low // L)`` on, with ``low``
that of the chunk's first row (0 if negative), and those before ``ceil(min(end, high) / L)``, with ``high`` that of
the chunk's last row (of a tree: none); the last page has the keys below ``min(end, high)``. Of cells it meets all
pages below ``end``. What a page does to its rows is `olivine_golden.attention`'s: m, l and O join page by page, in
this order, and a page that a row does not see changes nothing for it.

So results do not depend on chunks, with one exception: in a tree with a window below 64, the pages of a chunk's later
rows may begin after places that their masks name. Such places are not seen.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from olivine.attention.descriptor import SEGMENTS, OutputFormat
from olivine.config import ROW_BITS
from olivine.kvcache.descriptor import TREE_PLACES
from olivine.olive.formats import LaneFormat

from .attention import Partial, decode_codes, empty, finish, meet_page, page_scores
from .rounding import sat, saturates

__all__ = ["MASK_ROWS", "ALL_ROWS", "NO_BOUND", "Segment", "CachedGroup", "Met", "cached_bounds", "pages_met",
           "keys_seen", "cached_attention", "cell_scores", "hitter_step"]

MASK_ROWS = 64
ALL_ROWS = (1 << MASK_ROWS) - 1
"""Mask of a segment that all rows see."""

NO_BOUND = 1 << 40
"""``high`` of a row that sees all keys after it."""


@dataclass(frozen=True)
class Segment:
    """Keys and values of consecutive positions.

    Parameters
    ----------
    k_codes, v_codes : uint8 arrays [S, d]
        Of positions ``first * L`` and up; as of `olivine_golden.attention.Group`.
    first : int
        Page of the sequence in which the segment starts.
    rows : int
        Mask of 64 bits.
    """

    k_codes: np.ndarray
    v_codes: np.ndarray
    first: int = 0
    rows: int = ALL_ROWS

    def end(self, lanes):
        """Position after the last."""
        return self.first * lanes + len(self.k_codes)


@dataclass(frozen=True)
class CachedGroup:
    """One KV head, the rows that attend, and what they attend to.

    Parameters
    ----------
    q : int array [R, d]
        As of `olivine_golden.attention.Group`, and so the scales.
    segments : sequence of Segment
        1 to 64.
    position : int
        Of the first query token; of a tree the committed length.
    tree : sequence of int, or None
        Mask of 64 bits of each row; then there is one segment.
    cells : int array [S], or None
        Position of the token in each cell of the one segment, -1 where there is none.
    """

    q: np.ndarray
    segments: tuple
    position: int
    score_mult: int
    score_shift: int
    o_mult: int = 0
    o_shift: int = 25
    tree: tuple | None = None
    cells: np.ndarray | None = None

    def __post_init__(self):
        object.__setattr__(self, "segments", tuple(self.segments))
        if not 1 <= len(self.segments) <= SEGMENTS:
            raise ValueError(f"there are {len(self.segments)} segments: allowed is 1 to {SEGMENTS}")
        for segment in self.segments:
            if segment.k_codes.shape != segment.v_codes.shape or segment.k_codes.shape[1:] != self.q.shape[1:]:
                raise ValueError(f"q is {self.q.shape}, keys {segment.k_codes.shape}, values {segment.v_codes.shape}: "
                                 "must be [R, d], [S, d], [S, d]")
        if self.tree is None and self.cells is None:
            return
        if len(self.segments) != 1 or self.tree is not None and self.cells is not None:
            raise ValueError("a group is of a tree, or of cells, or neither; of both there is one segment")
        if self.tree is not None and len(self.tree) != self.rows:
            raise ValueError(f"tree has {len(self.tree)} masks: must be one for each of {self.rows} rows")
        if self.cells is not None and (len(self.cells) != len(self.segments[0].k_codes) or self.segments[0].first):
            raise ValueError(f"cells has {len(self.cells)} positions: must be one for each of "
                             f"{len(self.segments[0].k_codes)} keys, from page 0 on")

    @property
    def rows(self):
        return len(self.q)


class Met(NamedTuple):
    """Pages of one segment that a chunk meets: from ``first`` up to before ``end``, the last with ``last_keys``."""

    segment: int
    first: int
    end: int
    last_keys: int

    def keys(self, page, lanes):
        """Keys of a page."""
        return self.last_keys if page == self.end - 1 else lanes


def cached_bounds(group, heads, causal, window):
    """``low_r`` and ``high_r`` of each row, int64 [R]; ``low`` may be negative."""
    own = group.position + np.arange(group.rows, dtype=np.int64) // heads
    low = own - window + 1 if window else np.zeros_like(own)
    if group.tree is not None:
        return low, np.full_like(own, group.position)
    return low, own + 1 if causal else np.full_like(own, NO_BOUND)


def pages_met(group, *, lanes, chunk_rows, heads, causal, window):
    """For each chunk of ``chunk_rows`` rows the list of what it meets, `Met`, in order; empty where no page is met."""
    low, high = cached_bounds(group, heads, causal, window)
    chunks = []
    for start in range(0, group.rows, chunk_rows):
        stop = min(start + chunk_rows, group.rows)
        bits = sum({1 << row % MASK_ROWS for row in range(start, stop)})
        below, above = max(int(low[start]), 0), int(high[stop - 1])
        if group.tree is not None or group.cells is not None:
            above = NO_BOUND
        if group.cells is not None:
            below = 0
        met = []
        for number, segment in enumerate(group.segments):
            last = min(segment.end(lanes), above)
            first, end = max(segment.first, below // lanes), -(-last // lanes)
            if segment.rows & bits and first < end:
                met.append(Met(number, first, end, last - (end - 1) * lanes))
        chunks.append(met)
    return chunks


def keys_seen(group, number, start, count, *, heads, causal, window, rows=slice(None)):
    """bool [R, count]: which keys of a segment each row sees, from ``start`` on (a position, or a cell).

    ``rows`` is a slice of the group's rows. That they meet the keys' page is not looked at.
    """
    low, high = (bound[rows, None] for bound in cached_bounds(group, heads, causal, window))
    key = start + np.arange(count)
    if group.cells is not None:
        position = np.asarray(group.cells)[key]
        seen = (position >= 0) & (position >= low) & (position < high)
    else:
        seen = (key >= low) & (key < high)
    if group.tree is not None:
        place = np.clip(key - group.position, 0, TREE_PLACES)
        bits = np.array(list(group.tree)[rows], np.uint64)[:, None] >> place.astype(np.uint64) & 1
        seen = np.where(key < group.position, seen, (bits == 1) & (place < TREE_PLACES))
    numbers = np.arange(group.rows)[rows] % MASK_ROWS
    named = np.array([group.segments[number].rows >> int(bit) & 1 for bit in numbers], bool)
    return seen & named[:, None]


def _pages(group, met, rows, lanes, masks):
    """Of each page that a chunk, the rows of a slice, meets: its segment, first key, first key within the segment,
    number of keys, and which of them each row sees."""
    for part in met:
        segment = group.segments[part.segment]
        for page in range(part.first, part.end):
            start, count = page * lanes, part.keys(page, lanes)
            yield (segment, start, start - segment.first * lanes, count,
                   keys_seen(group, part.segment, start, count, **masks, rows=rows))


def _chunks(group, lanes, chunk_rows, masks):
    """The slice of its rows and its `_pages` for each chunk."""
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows is {chunk_rows}: must be 1 or more")
    for index, met in enumerate(pages_met(group, lanes=lanes, chunk_rows=chunk_rows, **masks)):
        rows = slice(index * chunk_rows, (index + 1) * chunk_rows)
        yield rows, _pages(group, met, rows, lanes, masks)


def cached_attention(group, *, lanes, chunk_rows, key_format, value_format, heads, causal, window, o_format):
    """Compute one group of a cached job.

    Parameters
    ----------
    group : CachedGroup
    lanes, chunk_rows, key_format, value_format, heads, causal, window, o_format
        As of `olivine_golden.attention.attention`.

    Returns
    -------
    dict
        As of `olivine_golden.attention.attention`.
    """
    o_format = OutputFormat(o_format)
    key_format, value_format = LaneFormat(key_format), LaneFormat(value_format)
    parts = [empty(0, group.q.shape[1])]
    tallies = {"sat_row": saturates(group.q, ROW_BITS), "sat_score": 0, "illegal": 0}
    masks = {"heads": heads, "causal": causal, "window": window}
    for rows, pages in _chunks(group, lanes, chunk_rows, masks):
        queries = sat(group.q[rows], ROW_BITS)
        state = empty(*queries.shape)
        for segment, _, at, count, seen in pages:
            k, illegal_k = decode_codes(segment.k_codes[at:at + count], key_format)
            v, illegal_v = decode_codes(segment.v_codes[at:at + count], value_format)
            scores, saturated = page_scores(queries, k, seen, group.score_mult, group.score_shift)
            tallies["sat_score"] += saturated
            tallies["illegal"] += illegal_k + illegal_v
            state = meet_page(state, scores, seen, v)
        parts.append(state)
    partial = Partial(*map(np.concatenate, zip(*parts)))
    whole = o_format is not OutputFormat.PARTIAL
    y, lse, saturated = finish(partial, group.o_mult, group.o_shift, o_format if whole else OutputFormat.INT16)
    return {"partial": partial, "y": y if whole else None, "lse": lse,
            "tallies": {**tallies, "sat_output": saturated if whole else 0}}


def cell_scores(group, *, lanes, chunk_rows, key_format, heads, causal, window):
    """What a score job computes of a group of cells: the first product only.

    Returns
    -------
    scores : int64 [R, cells]
        Q8.8, log2 domain; 0 in pages that were not met.
    seen : bool [R, cells]
    tallies : dict
        ``sat_row``, ``sat_score``, and ``illegal`` of keys.
    """
    shape = group.rows, len(group.cells)
    scores, seen = np.zeros(shape, np.int64), np.zeros(shape, bool)
    tallies = {"sat_row": saturates(group.q, ROW_BITS), "sat_score": 0, "illegal": 0}
    masks = {"heads": heads, "causal": causal, "window": window}
    for rows, pages in _chunks(group, lanes, chunk_rows, masks):
        for segment, start, _, count, page_seen in pages:
            k, illegal = decode_codes(segment.k_codes[start:start + count], LaneFormat(key_format))
            page = rows, slice(start, start + count)
            seen[page] = page_seen
            scores[page], saturated = page_scores(sat(group.q[rows], ROW_BITS), k, page_seen, group.score_mult,
                                                  group.score_shift)
            tallies["sat_score"] += saturated
            tallies["illegal"] += illegal
    return scores, seen, tallies


def hitter_step(hitter, scores, lse, seen):
    """Add what a step's rows give to the keys to their sums, and drop the excess, which frees its cells.

    Parameters
    ----------
    hitter : olivine_golden.heavy_hitter.HeavyHitter
        After its ``fill`` of the step; changed.
    scores, seen : [R, cells]
        As `cell_scores` returns them. ``hitter`` may have more cells.
    lse : int [R]
        Log-sum-exp of the rows.

    Returns
    -------
    list of int
        The cells that were dropped, in order.
    """
    beyond = (0, 0), (0, len(hitter.positions) - scores.shape[1])
    hitter.attend_add(np.pad(scores, beyond), lse, np.pad(seen, beyond))
    return hitter.drop(hitter.excess)
