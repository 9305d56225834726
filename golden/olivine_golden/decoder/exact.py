"""The one rounding rule on integers that are held as float64, which numpy computes several times faster.

``rsh(x * mult, shift)`` is ``floor(x * factor + 1/2)`` with ``factor = mult * 2**-shift``. In float64 it is exact as
long as ``|x * mult| <= 2**52``: the product is, a power of two changes nothing, and the sum with 1/2 needs at most 53
bits for shifts up to 53; for larger ones the product is below a quarter, and no rounding brings the sum out of 0 to 1.
All products of the decoder are smaller: the widest is 36 bits times 16.
"""

import numpy as np

__all__ = ["clamp", "factor", "rounded", "scaled"]


def factor(mult, shift):
    """float64 ``mult * 2**-shift``, exact."""
    return np.ldexp(np.asarray(mult, np.float64), -np.asarray(shift, np.int64))


def rounded(x):
    """``floor(x + 1/2)``, in place."""
    x += 0.5
    return np.floor(x, out=x)


def clamp(x, bits):
    """Saturate to signed ``bits``, in place."""
    limit = float(1 << bits - 1)
    return np.clip(x, -limit, limit - 1, out=x)


def scaled(x, by, bits):
    """New float64 array ``sat(rsh(x * mult, shift), bits)`` for a `factor`."""
    return clamp(rounded(x * by), bits)
