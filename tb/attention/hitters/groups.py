"""Random groups over cells for the testbenches of heavy hitters: what memory holds before, and golden after."""

from dataclasses import dataclass, field

import numpy as np
from olivine.attention.layout import SCORE_BITS
from olivine.kvcache.descriptor import RECORD_BYTES
from olivine_golden.heavy_hitter import SUM_MAX, HeavyHitter
from olivine_golden.hitter_record import put_record, record_parts

from tb.attention.units import CONFIG, LANES, ROWS

MASK = (1 << SCORE_BITS) - 1

__all__ = ["Chunk", "Group", "random_hitter", "random_group"]


@dataclass
class Chunk:
    """Rows of a group that share a pass: scores and visible [rows, cells], log-sum-exp [rows]."""

    scores: np.ndarray
    visible: np.ndarray
    lse: np.ndarray
    address: int = 0

    @property
    def contexts(self):
        return -(-len(self.lse) // ROWS)

    @property
    def last_rows(self):
        return len(self.lse) - ROWS * (self.contexts - 1)

    def word(self, rng, context, cell):
        """Scores and visible bits of one key, packed; rows that do not exist have a score and see nothing."""
        scores, visible = rng.getrandbits(SCORE_BITS * ROWS), 0
        for row, index in enumerate(range(ROWS * context, min(ROWS * context + ROWS, len(self.lse)))):
            scores &= ~(MASK << SCORE_BITS * row)
            scores |= (int(self.scores[index, cell]) & MASK) << SCORE_BITS * row
            visible |= int(self.visible[index, cell]) << row
        return scores, visible


@dataclass
class Group:
    """``fields`` are those of `cell_group_layout`; ``positions`` [filled] during the step, -1 for none; ``image`` the
    record before it, and ``after`` after it; ``parts`` what is written."""

    fields: dict
    positions: np.ndarray
    image: bytes
    after: bytes
    parts: list
    chunks: list = field(default_factory=list)

    @property
    def pages(self):
        return -(-len(self.positions) // LANES)


def random_hitter(rng, capacity, recent, holes=True):
    """A sequence some steps old, with holes among its cells, and sums many of which are equal."""
    hitter = HeavyHitter(capacity, max(capacity - recent - 1, 1), recent)
    hitter.length = int(rng.choice([0, 0, 5, 300, 0xfffe - 4 * capacity]))
    for _ in range(rng.integers(0, 4)):
        room = capacity - hitter.used - 1
        if room:
            hitter.fill(int(rng.integers(1, room + 1)))
        older = int(((hitter.positions >= 0) & (hitter.positions < hitter.length - recent)).sum())
        if holes and older and rng.random() < .7:
            hitter.sums[:] = np.where(hitter.positions >= 0, rng.integers(0, 99, capacity), 0)
            hitter.drop(int(rng.integers(0, older + 1)))
    sums = rng.choice([0, 1, 1 << 20, 1 << 31, SUM_MAX, SUM_MAX - (1 << 20), int(rng.integers(SUM_MAX))], capacity)
    if rng.random() < .5:
        sums = rng.integers(0, rng.choice([4, 1 << 22, SUM_MAX]), capacity)
    hitter.sums[:] = np.where(hitter.positions >= 0, sums, 0)
    return hitter


def _chunk(rng, hitter, seen):
    """Rows that see some of what they may: close scores and far ones, a log-sum-exp below scores, and extremes."""
    rows = len(seen)
    scores = rng.choice([rng.integers(-3000, 300, seen.shape), rng.integers(-1 << 15, 1 << 15, seen.shape)])
    lse = rng.choice([rng.integers(-100, 1000, rows), rng.integers(-1 << 15, (1 << 15) + 4096, rows)])
    lse[rng.random(rows) < .05] = -1 << 17
    return Chunk(scores, seen & (rng.random(seen.shape) < rng.choice([.3, 1])), lse)


def random_group(rng, mode, slot, record, *, cells=None, tokens=None, drop=None, full=False, chunks=None):
    """One group of a job in ``mode`` "cells", "decode" or "score".

    ``cells``: those the sequence may use at most; ``full``: it uses all of them before the step but the tokens'.
    """
    capacity = cells or int(rng.integers(4, CONFIG.cells + 1)) if rng.random() < .3 else int(rng.integers(4, 3 * LANES))
    capacity = cells or min(capacity, CONFIG.cells)
    log_cells = max((capacity - 1).bit_length(), 3)
    recent = int(rng.integers(1, max(capacity // 2, 2)))
    hitter = random_hitter(rng, capacity, recent)
    if full:
        hitter = HeavyHitter(capacity, capacity - recent - 1, recent)
        hitter.fill(capacity - (tokens or 1))
        hitter.sums[:hitter.used] = rng.integers(0, 1 << 24, hitter.used)
    size = RECORD_BYTES << log_cells
    image = bytearray(rng.bytes(size))
    put_record(image, hitter, 1 << log_cells)

    room = capacity - hitter.used
    tokens = tokens or int(min(rng.choice([1, 1, 2, room]), room))
    heads = int(rng.choice([1, max(ROWS // tokens, 1)]))
    if mode == "decode":
        tokens, heads = min(tokens, ROWS), max(min(heads, ROWS // tokens), 1)
    fields = {"slot": slot, "record": record, "log_cells": log_cells, "before": hitter.filled,
              "tokens": tokens, "length": hitter.length, "recent": recent}
    hitter.fill(tokens)
    group = Group(fields, hitter.positions[:hitter.filled].copy(), bytes(image), b"", [])

    seen = hitter.seen(tokens, heads)
    if mode == "decode":
        group.chunks = [_chunk(rng, hitter, seen[:ROWS])]
    else:
        for _ in range(chunks or rng.integers(1, 5)):
            rows = int(rng.integers(1, ROWS * CONFIG.contexts + 1))
            group.chunks.append(_chunk(rng, hitter, seen[rng.integers(0, len(seen), rows)]))
    older = int(((hitter.positions >= 0) & (hitter.positions < hitter.length - recent)).sum())
    if drop is None:
        drop = int(rng.choice([0, 1, 3, 4, 5, 9, older]))
    fields.update(filled=hitter.filled, drop=min(drop, older))
    if mode != "cells":
        for chunk in group.chunks:
            hitter.attend_add(chunk.scores, chunk.lse, chunk.visible)
        hitter.drop(fields["drop"])
        group.parts = record_parts(hitter, 1 << log_cells)
        put_record(image, hitter, 1 << log_cells)
    group.after = bytes(image)
    return group
