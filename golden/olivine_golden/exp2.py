"""Powers of two by a table, twin of `olivine.numerics.exp2`."""

import numpy as np

from .rounding import rsh

__all__ = ["PROBABILITY_ONE", "TABLE", "exp2"]

PROBABILITY_ONE = 2047
"""The 11-bit probability that stands for 1."""

TABLE = np.floor(PROBABILITY_ONE * 2.0 ** (5 - np.arange(256) / 256) + 0.5).astype(np.int64)
"""``T[f] = round(2047 * 2**(-f/256) * 2**5)``: one octave with five more bits than a probability."""


def exp2(t):
    """``round(2047 * 2**(-t/256))`` for integers ``t`` >= 0, within 0.516; an int64 array.

    ``p = rsh(T[t & 255], (t >> 8) + 5)``: the table's own rounding adds 1/64 to the final one.
    """
    t = np.asarray(t)
    if t.dtype.kind not in "iu":
        raise TypeError(f"t must be integers, not {t.dtype}")
    t = t.astype(np.int64)
    if (t < 0).any():
        raise ValueError(f"t is {t.min()}: must be 0 or more")
    return rsh(TABLE[t & 255], (t >> 8) + 5)
