"""Nearest codes of the lane formats, and outlier-victim pairs chosen two weights at a time.

Everything here works on *scaled* weights ``q = w / scale``, in units of the format's least
significant bit. Each format is a pair of tables: its normal values and, for the outlier-victim
formats, its outliers, which cost the other element of the pair (the victim, which becomes 0).

The tables are the golden codec's. Their decision points are all multiples of half an LSB, so
``floor(2 q)`` picks the nearest value exactly, ties going up, by one small lookup. The one exception
is the outlier threshold, which is symmetric: +-9.5 (+-20) itself is an outlier.
"""

from dataclasses import dataclass

import numpy as np
from olivine.olive.formats import IDENTIFIER, LaneFormat
from olivine_golden.ovp import normal_values, outlier_values

__all__ = ["PAIRS", "Codebook", "Table", "codebook"]

PAIRS = ("least_error", "rule", "first_wins")
"""How a pair with a large element is coded; see :meth:`Codebook.pairs`."""


class Table:
    """An ascending list of values with their codes, and the lookup of the nearest.

    Attributes
    ----------
    values : ndarray of float64
        Ascending values, LSB.
    codes : ndarray of uint8
        Code of each value.
    top : float
        Largest magnitude that both signs reach.
    """

    def __init__(self, entries):
        ordered = sorted(entries)
        self.values = np.array([value for value, _ in ordered], dtype=np.float64)
        self.codes = np.array([code for _, code in ordered], dtype=np.uint8)
        self.top = min(-self.values[0], self.values[-1])
        # One entry per half LSB from half an LSB below the smallest value to the largest.
        self._first = int(2 * self.values[0]) - 1
        halves = np.arange(self._first, int(2 * self.values[-1]) + 1) / 2
        middles = (self.values[1:] + self.values[:-1]) / 2
        self._lookup = np.searchsorted(middles, halves, side="right").astype(np.int16)

    def index(self, q):
        """Indices of the values nearest to ``q``; a tie goes to the larger value."""
        half = np.floor(2 * np.asarray(q)) - self._first
        return self._lookup[np.clip(half, 0, len(self._lookup) - 1).astype(np.int32)]

    def nearest(self, q):
        """The values nearest to ``q``, as float64."""
        return self.values[self.index(q)]


@dataclass(frozen=True)
class Codebook:
    """The values a format can hold.

    Attributes
    ----------
    format : LaneFormat
    normal : Table
        Values that an element may take whatever its neighbour.
    outlier : Table or None
        Values that make the other element of the pair a victim.
    threshold : float
        |q| from which the pair rule calls an element an outlier: halfway between the largest normal
        value and the smallest outlier, which the outlier wins. Infinite without outliers.
    """

    format: LaneFormat
    normal: Table
    outlier: Table | None
    threshold: float

    def pairs(self, first, second, factor=(1.0, 0.0, 1.0), *, rule="least_error"):
        """Code pairs of weights jointly.

        Parameters
        ----------
        first, second : ndarray of float
            Scaled weights of the two elements, equal shapes.
        factor : (float, float, float)
            ``u00, u01, u11`` of the upper Cholesky factor of the pair's inverse Hessian: what an
            error in the first element costs, how far it moves the second's target, and what an
            error in the second costs. The default is the plain squared error.
        rule : str
            ``"least_error"`` takes the cheapest of the three kinds of pair (no outlier, first,
            second). ``"rule"`` is the published one: an element at or past the threshold is an
            outlier; of two the larger survives, the first on equality. ``"first_wins"`` lets the
            first of two survive whatever the magnitudes, as the authors' repository does.

        Returns
        -------
        codes, values : pairs of ndarray
            ``(code0, code1)`` as uint8 and ``(value0, value1)`` as float64.
        """
        if rule not in PAIRS:
            raise ValueError(f"pairs is {rule!r}: allowed are {', '.join(map(repr, PAIRS))}")
        u00, u01, u11 = factor
        a0 = self.normal.index(first)
        v0 = self.normal.values[a0]
        a1 = self.normal.index(second - (first - v0) * (u01 / u00))
        v1 = self.normal.values[a1]
        codes = [self.normal.codes[a0], self.normal.codes[a1]]
        values = [v0, v1]
        if self.outlier is None:
            return tuple(codes), tuple(values)

        # Few pairs have an element past the normal values; only those can want an outlier.
        large = np.nonzero((np.abs(first) > self.normal.top) | (np.abs(second) > self.normal.top)
                           | (np.abs(v1) >= self.normal.top))
        kind = self._kinds(first[large], second[large], values[0][large], values[1][large], factor, rule)
        for want, (keep, lose) in ((1, (0, 1)), (2, (1, 0))):
            chosen = tuple(axis[kind == want] for axis in large)
            target = self._outlier_target(first[chosen], second[chosen], factor, keep)
            index = self.outlier.index(target)
            codes[keep][chosen] = self.outlier.codes[index]
            values[keep][chosen] = self.outlier.values[index]
            codes[lose][chosen] = IDENTIFIER
            values[lose][chosen] = 0.0
        return tuple(codes), tuple(values)

    def columns(self, q, *, pairs="least_error"):
        """Code columns of scaled weights [K, N], each pair on its own.

        An odd last element has no partner in memory that could mark it as an outlier: it stays normal.

        Returns
        -------
        codes : uint8 [K, N]
        values : float64 [K, N]
        """
        codes, values = np.empty(q.shape, np.uint8), np.empty(q.shape)
        even = len(q) // 2 * 2
        (codes[0:even:2], codes[1:even:2]), (values[0:even:2], values[1:even:2]) = self.pairs(
            q[0:even:2], q[1:even:2], rule=pairs)
        if len(q) % 2:
            index = self.normal.index(q[-1])
            codes[-1], values[-1] = self.normal.codes[index], self.normal.values[index]
        return codes, values

    def _outlier_target(self, first, second, factor, keep):
        """What the surviving outlier should come nearest to, given that the other element is 0."""
        u00, u01, u11 = factor
        if keep == 1:
            return second - first * (u01 / u00)
        # The victim's error is fixed at `second` but for what the first's error moves: minimise
        # (e / u00)^2 + ((second - e u01 / u00) / u11)^2 over the first's error e.
        return first - second * (u00 * u01 / (u11 * u11 + u01 * u01))

    def _kinds(self, first, second, v0, v1, factor, rule):
        """0 where the pair stays normal, 1 where the first is the outlier, 2 where the second is."""
        if rule != "least_error":
            size0, size1 = np.abs(first), np.abs(second)
            out0, out1 = size0 >= self.threshold, size1 >= self.threshold
            first_survives = out0 & (~out1 | (size0 >= size1) | (rule == "first_wins"))
            return np.where(first_survives, 1, np.where(out1, 2, 0))

        def cost(value0, value1):
            u00, u01, u11 = factor
            e0 = (first - value0) / u00
            e1 = (second - e0 * u01 - value1) / u11
            return e0 * e0 + e1 * e1

        costs = np.stack([
            cost(v0, v1),
            cost(self.outlier.nearest(self._outlier_target(first, second, factor, 0)), 0.0),
            cost(0.0, self.outlier.nearest(self._outlier_target(first, second, factor, 1))),
        ])
        return np.argmin(costs, axis=0)


def _make(format):
    if format is LaneFormat.INT8:
        values = range(-128, 128)
        return Codebook(format, Table((value, value & 0xff) for value in values), None, float("inf"))
    normal = Table((value, code) for code, value in normal_values(format).items())
    if format is LaneFormat.INT4:
        return Codebook(format, normal, None, float("inf"))
    outlier = Table((value, code) for code, value in outlier_values(format).items())
    smallest = outlier.values[outlier.values > 0][0]
    return Codebook(format, normal, outlier, (normal.top + smallest) / 2)


_CODEBOOKS = {format: _make(format) for format in LaneFormat}


def codebook(format):
    """The codebook of a :class:`LaneFormat`."""
    if not isinstance(format, LaneFormat):
        raise TypeError(f"format must be a LaneFormat, not {format!r}")
    return _CODEBOOKS[format]
