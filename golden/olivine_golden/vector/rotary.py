"""Golden model of rotary positions: pairs of a head's dimensions, turned by an angle of the row's position.

``a' = sat16(rsh(a * cos - b * sin, 14))``, ``b' = sat16(rsh(b * cos + a * sin, 14))``, with cosines and sines of 14
fractional bits. Error: half a step, and 2**-15 of ``|a| + |b|`` for the rounded cosine and sine.
"""

from enum import Enum
from typing import NamedTuple

import numpy as np
from olivine.vector.formats import ANGLE_FRACTION, LINEAR_BITS

from ..rounding import rsh, sat

__all__ = ["Pairing", "Rotated", "pairs", "angles", "rotate"]


class Pairing(Enum):
    """Which dimensions turn together: i with i + half of those that turn, or neighbours."""

    HALVES = 0
    INTERLEAVED = 1


class Rotated(NamedTuple):
    """int64 results, and where they saturated."""

    y: np.ndarray
    saturated: np.ndarray


def pairs(dims, pairing):
    """(first, second) of every pair of an even number of turning dimensions; the others of a head stay."""
    if dims % 2:
        raise ValueError(f"dims is {dims}: must be even")
    half = dims // 2
    return [(i, i + half) if pairing is Pairing.HALVES else (2 * i, 2 * i + 1) for i in range(half)]


def angles(positions, frequencies):
    """Cosines and sines [positions, frequencies], int16 with 14 fractional bits."""
    turns = np.outer(positions, frequencies)
    return tuple(np.floor(f(turns) * (1 << ANGLE_FRACTION) + 0.5).astype(np.int64) for f in (np.cos, np.sin))


def rotate(x, cosines, sines, pairing):
    """Head vectors int16 [rows, head_dim], turned by cosines and sines [rows, pairs]; dimensions past them stay."""
    x = np.asarray(x, np.int64)
    y, saturated = x.copy(), np.zeros(x.shape, bool)
    first, second = (list(side) for side in zip(*pairs(2 * np.shape(cosines)[1], pairing)))
    a, b = x[:, first], x[:, second]
    for side, exact in ((first, a * cosines - b * sines), (second, b * cosines + a * sines)):
        rounded = rsh(exact, ANGLE_FRACTION)
        y[:, side] = sat(rounded, LINEAR_BITS)
        saturated[:, side] = y[:, side] != rounded
    return Rotated(y, saturated)
