"""Golden model of the linear job: the executable specification of `olivine.linear`.

The reduction is summed in runs (the group, or 128 steps when scales are per output channel); every
run's exact sum enters a 40-bit partial sum, in groups after an 8-bit multiply and a rounding shift::

    psum = sum_g acc_g                                        scales per channel
    psum = sum_g rsh(acc_g * multiplier_g, group_shift)       in groups
    y    = sat(rsh(sat36(psum + bias) * mult, shift), bits of y)
"""

from dataclasses import dataclass

import numpy as np
from olivine.config import ROW_BITS
from olivine.linear.descriptor import Group, RowFormat, run_steps
from olivine.olive.formats import LaneFormat

from .epilogue import requantize, scale_run
from .ovp import decode_codes, decode_pairs
from .rounding import sat

__all__ = ["LinearWeights", "decode", "linear"]


@dataclass(frozen=True)
class LinearWeights:
    """The weights of one linear layer as memory holds them, K input by N output channels.

    Parameters
    ----------
    format : LaneFormat
    group : Group
        Steps that share a multiplier.
    codes : uint8 [K, N]
        A nibble for each element, or a two's-complement byte in INT8. Pairs lie along K, the even
        element in the high nibble of its byte.
    multipliers : uint8 [ceil(K / run), N] or None
        Group multipliers; None when scales are per channel.
    group_shift : int
        0 to 63; 0 when scales are per channel.
    bias : int32 [N]
        In units of the partial sum.
    mult : uint16 [N]
    shift : uint8 [N]
        0 to 63.
    """

    format: LaneFormat
    group: Group
    codes: np.ndarray
    multipliers: np.ndarray | None
    group_shift: int
    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray

    def __post_init__(self):
        k, n = self.codes.shape
        run = run_steps(self.group)
        groups = None if self.group is Group.CHANNEL else (-(-k // run), n)
        expected = {"codes": (np.uint8, (k, n)), "bias": (np.int32, (n,)), "mult": (np.uint16, (n,)),
                    "shift": (np.uint8, (n,))}
        if groups is not None:
            expected["multipliers"] = (np.uint8, groups)
        elif self.multipliers is not None:
            raise ValueError("multipliers are given, but the weights are scaled per channel: pass None")
        for name, (dtype, shape) in expected.items():
            value = getattr(self, name)
            if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
                found = f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else repr(value)
                raise ValueError(f"{name} is {found}: must be {np.dtype(dtype)}{shape}")
        if not 0 <= self.group_shift < 64 or (self.shift > 63).any():
            raise ValueError("group_shift and shift must be 0 to 63")
        if self.format is not LaneFormat.INT8 and (self.codes > 15).any():
            raise ValueError(f"a code of {int(self.codes.max())} is no nibble: "
                             f"{self.format.name} codes are 0 to 15")


def decode(weights):
    """Integers [K, N] that the lanes see."""
    if weights.format is LaneFormat.INT8:
        return weights.codes.view(np.int8).astype(np.int64)
    return decode_codes(weights.codes, weights.format).astype(np.int64)


def _illegal(weights):
    """Number of illegal outlier-victim bytes."""
    if weights.format is LaneFormat.INT8:
        return 0
    codes = weights.codes
    if len(codes) % 2:
        codes = np.concatenate([codes, np.zeros((1, codes.shape[1]), np.uint8)])
    _, _, illegal = decode_pairs(codes[0::2] << 4 | codes[1::2], weights.format)
    return int(illegal.sum())


def linear(x, weights, y_format, passes=1):
    """Compute one linear job.

    Parameters
    ----------
    x : int [M, K]
        Row operands as their containers hold them; values beyond 12 bits saturate.
    weights : LinearWeights
    y_format : RowFormat
    passes : int
        Times that the weights cross the bus (chunks of P * C rows); illegal bytes count in each.

    Returns
    -------
    y : int64 [M, N]
    tallies : dict
        ``sat_row``, ``sat_sum``, ``sat_output``, ``illegal`` as `olivine.control.job.TALLIES` says.
    """
    y_format = RowFormat(y_format)
    x = np.asarray(x, dtype=np.int64)
    k, n = weights.codes.shape
    if x.ndim != 2 or x.shape[1] != k:
        raise ValueError(f"x has shape {x.shape}: must be [M, {k}], the weights' reduction")
    rows = sat(x, ROW_BITS)
    decoded = decode(weights)
    psum = np.zeros((len(x), n), np.int64)
    run = run_steps(weights.group)
    for g, start in enumerate(range(0, k, run)):
        # Exact in float64 (|sums| < 2**27), and much faster than integer matrix products.
        acc = (rows[:, start:start + run].astype(np.float64)
               @ decoded[start:start + run].astype(np.float64)).astype(np.int64)
        multiplier = None if weights.group is Group.CHANNEL else weights.multipliers[g]
        psum += scale_run(acc, multiplier, weights.group_shift)
    done = requantize(psum, weights.bias, weights.mult, weights.shift, y_format.bits)
    tallies = {"sat_row": int((rows != x).sum()), "sat_sum": int(done.sum_saturated.sum()),
               "sat_output": int(done.output_saturated.sum()), "illegal": _illegal(weights) * passes}
    return done.y, tallies
