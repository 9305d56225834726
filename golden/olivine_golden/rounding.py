"""The one rounding rule and the one saturation rule, twin of `olivine.numerics.rounding`.

``rsh(x, n) = floor(x / 2**n + 1/2)``: round half up, exact; a shift by 0 is the identity.
``sat(x, bits)`` clamps to the signed range of ``bits``.

Both take Python integers of any size (and return them), or integer arrays (and return int64).
"""

import numpy as np

__all__ = ["rsh", "sat", "saturates"]


def _integers(name, value):
    """int64 array of ``value``; nothing is ever rounded or wrapped on the way in."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} holds {array.max()}: must fit int64")
    return array.astype(np.int64)


def rsh(x, n):
    """Shift ``x`` right by ``n`` >= 0 places and round half up; ``n`` may be an array of shifts."""
    if isinstance(x, int) and isinstance(n, int):
        if n < 0:
            raise ValueError(f"shift is {n}: must be 0 or more")
        return (x >> n) + (x >> n - 1 & 1) if n else x
    x, n = _integers("x", x), _integers("shift", n)
    if (n < 0).any():
        raise ValueError(f"shift is {n.min()}: must be 0 or more")
    # The last bit shifted out is the rounding carry. A shift of 63 already leaves only the sign, and
    # numpy does not promise what longer ones do.
    carry = np.where(n > 0, x >> np.clip(n - 1, 0, 63) & 1, 0)
    return (x >> np.minimum(n, 63)) + carry


def _limits(bits):
    if bits < 1:
        raise ValueError(f"bits is {bits}: must be 1 or more")
    return -(1 << bits - 1), (1 << bits - 1) - 1


def sat(x, bits):
    """Clamp ``x`` to ``bits`` signed bits."""
    low, high = _limits(bits)
    if isinstance(x, int):
        return min(max(x, low), high)
    x = _integers("x", x)
    return x if bits >= 64 else np.clip(x, low, high)


def saturates(x, bits):
    """Number of elements of ``x`` that lie outside ``bits`` signed bits."""
    low, high = _limits(bits)
    if isinstance(x, int):
        return int(not low <= x <= high)
    x = _integers("x", x)
    return 0 if bits >= 64 else int(np.count_nonzero((x < low) | (x > high)))
