"""Golden model of the array's border: a word of L bytes becomes L lane operands."""

import numpy as np
from olivine.olive.formats import LaneFormat

from .ovp import decode_pairs, decode_terms

__all__ = ["lane_operands"]


def lane_operands(word, lane_format, element, odd=False, half=0, across=False):
    """Lane operands of one step.

    Parameters
    ----------
    word : uint8 [L]
    lane_format : LaneFormat
    element : str
    odd : bool
        In 4 bit, the second element of every byte.
    half : int
        ``exponent`` with INT8 only: which half of the bytes, each of which takes two lanes.
    across : bool
        ``folded`` in 4 bit only: pairs lie across lanes, and ``odd`` takes the upper half of the bytes.

    Returns
    -------
    operands : list
        For each lane its value (``folded``), or its (exponent, integer).
    illegal : int64 [L]
        1 for each byte that is no legal outlier-victim pair; ``across``, for each lane of one.
    """
    word, lane_format = np.asarray(word), LaneFormat(lane_format)
    if across:
        first, second, illegal = decode_pairs(word[len(word) // 2:] if odd else word[:len(word) // 2], lane_format)
        return np.stack([first, second], axis=1).ravel().tolist(), illegal.repeat(2)
    first, second, illegal = decode_pairs(word, lane_format)
    if element == "folded":
        return (second if odd else first).tolist(), illegal
    e0, i0, e1, i1, _ = decode_terms(word, lane_format)
    high, low = list(zip(e0.tolist(), i0.tolist())), list(zip(e1.tolist(), i1.tolist()))
    if lane_format is LaneFormat.INT8:
        part = slice(half * len(word) // 2, (half + 1) * len(word) // 2)
        return [term for pair in zip(high[part], low[part]) for term in pair], illegal
    return (low if odd else high), illegal
