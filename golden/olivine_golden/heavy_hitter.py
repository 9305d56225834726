"""Golden model of heavy-hitter eviction: which keys of one layer and KV head are kept.

Every key has a sum of the probabilities that queries gave it. With ``LSE_i`` the log-sum-exp of row i and ``s_ij``
its score for key j, both with 8 fractional bits in the log2 domain::

    d      = max(LSE_i - s_ij, 0)
    sum_j += rsh(T[d & 255], d >> 8)        T[f] = round(2**20 * 2**(-f/256)); 32 bits unsigned, saturating

The rows of all query heads that share the KV head add up. After a step the smallest sums beyond the capacity are
dropped, never one of the `recent` newest positions. No key is ever moved: a victim's cell takes a later token.

Source: *H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models*, NeurIPS 2023.
"""

import numpy as np

from .rounding import rsh

__all__ = ["SUM_MAX", "WEIGHT_ONE", "TABLE", "weight", "HeavyHitter"]

WEIGHT_ONE = 1 << 20
"""The weight that stands for a probability of 1."""

SUM_MAX = (1 << 32) - 1
"""A sum stays here: 4,096 queries that saw nothing but this key."""

TABLE = np.floor(WEIGHT_ONE * 2.0 ** (-np.arange(256) / 256) + 0.5).astype(np.int64)


def weight(d):
    """``2**20 * 2**(-d/256)`` for integers ``d`` >= 0, within 1; an int64 array."""
    d = np.asarray(d)
    if d.dtype.kind not in "iu":
        raise TypeError(f"d must be integers, not {d.dtype}")
    d = d.astype(np.int64)
    if (d < 0).any():
        raise ValueError(f"d is {d.min()}: must be 0 or more")
    return rsh(TABLE[d & 255], d >> 8)


class HeavyHitter:
    """The cells of one layer and KV head of one sequence.

    A step is ``fill``, ``attend_add`` (as often as there are rows), then ``drop``.

    Parameters
    ----------
    cells : int
        At least ``heavy + recent`` and the tokens of one step.
    heavy, recent : int
        Keys kept for their sums, and for being the newest; at least 1 each.

    Attributes
    ----------
    positions : int64 [cells]
        Of the token in each cell; -1 where there is none.
    sums : int64 [cells]
        0 to ``SUM_MAX``; 0 where there is no token.
    length : int
        Tokens so far, dropped ones included: the next token's position.
    dropped : int
        Tokens that were dropped.
    filled : int
        Cells ever used: none that follow holds, or held, a token.
    """

    def __init__(self, cells, heavy, recent):
        for name, value in (("heavy", heavy), ("recent", recent)):
            if value < 1:
                raise ValueError(f"{name} is {value}: must be 1 or more")
        if cells <= heavy + recent:
            raise ValueError(f"cells is {cells}: must be more than heavy + recent, {heavy + recent}")
        self.heavy, self.recent = heavy, recent
        self.positions = np.full(cells, -1, np.int64)
        self.sums = np.zeros(cells, np.int64)
        self.length = self.dropped = self.filled = 0

    @property
    def used(self):
        """Cells that hold a token."""
        return int(np.count_nonzero(self.positions >= 0))

    @property
    def free(self):
        """Free cells among those ever used, ascending."""
        return np.flatnonzero(self.positions[:self.filled] < 0)

    @property
    def excess(self):
        """Cells to drop before the next step."""
        return max(self.used - self.heavy - self.recent, 0)

    def cell(self, position):
        """The cell of a token; None where it was dropped or has not come."""
        found = np.flatnonzero(self.positions == position) if position >= 0 else ()
        return int(found[0]) if len(found) else None

    def fill(self, tokens):
        """Give the next ``tokens`` positions a cell each, the lowest free cells in order; returns the cells."""
        free = np.flatnonzero(self.positions < 0)
        if not 1 <= tokens <= len(free):
            raise ValueError(f"tokens is {tokens}: allowed is 1 to {len(free)}, the free cells")
        cells = free[:tokens]
        self.positions[cells] = self.length + np.arange(tokens)
        self.length += tokens
        self.filled = max(self.filled, int(cells[-1]) + 1)
        return cells.tolist()

    def seen(self, tokens, heads):
        """bool [tokens * heads, cells]: what the rows of the newest ``tokens`` see, each nothing after itself."""
        own = self.length - tokens + np.arange(tokens * heads) // heads
        return (self.positions >= 0) & (self.positions <= own[:, None])

    def attend_add(self, scores, lse, visible):
        """Add the weights that rows give to the keys.

        Parameters
        ----------
        scores : int [rows, cells]
            Q8.8, log2 domain.
        lse : int [rows]
            Log-sum-exp of each row, 8 fractional bits.
        visible : bool [rows, cells]
            Keys that a row sees; a score that is not visible does not matter.
        """
        scores, lse, visible = np.asarray(scores), np.asarray(lse), np.asarray(visible)
        shape = (len(lse), len(self.positions))
        if scores.shape != shape or visible.shape != shape:
            raise ValueError(f"scores{scores.shape} and visible{visible.shape} must be {shape}")
        if (visible & (self.positions < 0)).any():
            raise ValueError("a row sees a cell that holds no token")
        weights = np.where(visible, weight(np.maximum(lse[:, None] - scores, 0)), 0)
        # No term is negative, so saturating each addition or the total is the same.
        self.sums = np.minimum(self.sums + weights.sum(axis=0), SUM_MAX)

    def drop(self, k):
        """Drop the ``k`` smallest sums among the tokens older than the `recent` newest, of equal ones the oldest.

        Returns the cells in that order; they are free.
        """
        older = np.flatnonzero((self.positions >= 0) & (self.positions < self.length - self.recent))
        if not 0 <= k <= len(older):
            raise ValueError(f"k is {k}: allowed is 0 to {len(older)}, the tokens that are not recent")
        victims = older[np.lexsort((self.positions[older], self.sums[older]))[:k]]
        self.positions[victims] = -1
        self.sums[victims] = 0
        self.dropped += k
        return victims.tolist()

    def truncate(self, length):
        """Forget the tokens from position ``length`` on. Sums keep what those tokens' queries added."""
        if self.dropped or not 0 <= length <= self.length:
            raise ValueError(f"length is {length}: allowed is 0 to {self.length}, and only before the first drop")
        gone = self.positions >= length
        self.positions[gone] = -1
        self.sums[gone] = 0
        self.length = self.filled = length
