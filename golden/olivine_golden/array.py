"""Golden model of the array: sums of rank-1 updates, in the order in which they drain.

Both processing elements compute the same sums. Where an operand takes two lanes (`pairs`, the exponent
element with 8-bit operands), the sums of neighbouring lanes are added as they leave.
"""

import numpy as np
from olivine.config import ACCUMULATOR_BITS

__all__ = ["lane_values", "accumulate"]


def lane_values(exponent, integer):
    """What <exponent, integer> is worth."""
    return np.asarray(integer, np.int64) << np.asarray(exponent, np.int64)


def accumulate(row, lane, pairs=False):
    """Sums of one tile.

    Parameters
    ----------
    row : int [steps, P]
    lane : int [steps, L]
        Values of the lane operands.
    pairs : bool
        Neighbouring lanes hold one operand.

    Returns
    -------
    int64 [L, P]
        A word of P sums for each output channel, in draining order; [L / 2, P] with ``pairs``.
    """
    row, lane = np.asarray(row, np.int64), np.asarray(lane, np.int64)
    if row.ndim != 2 or lane.ndim != 2 or len(row) != len(lane):
        raise ValueError(f"row has shape {row.shape} and lane {lane.shape}: must be [steps, P], [steps, L]")
    sums = lane.T @ row
    if pairs:
        sums = sums[0::2] + sums[1::2]
    limit = 1 << ACCUMULATOR_BITS - 1
    if sums.size and not (-limit <= sums.min() and sums.max() < limit):
        raise ValueError(f"a sum of {max(sums.max(), -sums.min())} overflows {ACCUMULATOR_BITS} bits")
    return sums
