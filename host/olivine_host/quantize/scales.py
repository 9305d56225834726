"""From real scales to the numbers that the epilogue multiplies, shifts and adds.

The hardware computes ``y = sat(rsh(sat36(psum + bias) * mult, shift))`` with
``psum = sum_g rsh(acc_g * multiplier_g, group_shift)``. Scales are rounded to what it can hold
*before* the weights are coded, and the weights are coded against the rounded ones: rounding a scale
then costs nothing but a slightly different grid.
"""

from dataclasses import dataclass

import numpy as np
from olivine.config import REQUANT_BITS
from olivine.linear.descriptor import Group

__all__ = ["HardwareScales", "hardware_scales", "normalised", "factor_of", "finish"]

_LARGEST = 255
"""Multiplier of the group with a channel's largest scale."""

_ROOM_FOR_BIAS = 30
"""A channel's scale is at least its bias / 2**30 / x_scale, so that the bias fits 32 bits. It matters
only where the bias is 100,000 times what a weight can contribute; the weights' rounding then moves
the output by at most K / 2**20 of the bias."""

_SMALLEST_STEP = -31
"""A channel's scale is at least 2**-31 output steps for one input step: finer weights could not move
the output by 1/100 of a step, and the shift stays within its 6 bits."""


@dataclass(frozen=True)
class HardwareScales:
    """Scales as the hardware holds them, but for the shifts that depend on the weights.

    Attributes
    ----------
    weight : float64 [G, N]
        Effective scale of each group of weights: what the codes are multiplied by, exactly.
    multipliers : uint8 [G, N] or None
        Group multipliers, None where scales are per channel.
    mult : uint16 [N]
        Normalised: 2**15 to 2**16 - 1.
    exponent : int64 [N]
        With no group shift, a unit of the partial sum is ``mult * 2**-exponent`` steps of the output.
    unit : float64 [N]
        Real value of that unit.
    """

    weight: np.ndarray
    multipliers: np.ndarray | None
    mult: np.ndarray
    exponent: np.ndarray
    unit: np.ndarray


def normalised(ratio):
    """``mult`` and ``exponent`` with ratio = mult * 2**-exponent within 2**-17, relative."""
    fraction, power = np.frexp(ratio)
    mult = np.rint(fraction * 65536)
    carried = mult == 65536
    mult = np.where(carried, 32768, mult)
    return mult.astype(np.uint16), 16 - (power + carried).astype(np.int64)


def factor_of(name, ratio, places=0):
    """``mult`` (16 bits) and ``shift`` (6 bits) with ratio = mult * 2**(places - shift); ratio is above 0.

    ValueError if ``name`` would need a negative shift.
    """
    mult, exponent = (int(part) for part in normalised(ratio))
    shift = exponent + places
    if shift > 63:
        mult, shift = mult >> min(shift - 63, 16), 63
    if shift < 0:
        raise ValueError(f"{name} would be multiplied by {ratio:g}: at most {2.0 ** (16 + places):g}")
    return mult, shift


def hardware_scales(scales, bias, group, *, x_scale, y_scale):
    """Round the scales [G, N] that a search found; a scale of 0 stands for weights that are all 0."""
    step = y_scale / x_scale
    channel = scales.max(axis=0)
    # Channels without weights: fine enough for their bias.
    channel = np.where(channel > 0, channel, step / 256)
    channel = np.maximum(channel, np.ldexp(np.abs(bias) / x_scale, -_ROOM_FOR_BIAS))
    channel = np.maximum(channel, np.ldexp(step, _SMALLEST_STEP))
    per_unit = 1 if group is Group.CHANNEL else _LARGEST
    mult, exponent = normalised(channel / per_unit / step)
    unit = np.ldexp(mult.astype(np.float64), -exponent) * step
    if group is Group.CHANNEL:
        return HardwareScales(unit[None, :], None, mult, exponent, unit * x_scale)
    multipliers = np.clip(np.rint(scales / channel * _LARGEST), 1, _LARGEST).astype(np.uint8)
    return HardwareScales(multipliers * unit, multipliers, mult, exponent, unit * x_scale)


def _largest_sum(scales, values, run, x_bits, group_shift):
    """Bound [N] on the magnitude of the partial sum, whatever rows of ``x_bits`` come."""
    reach = np.add.reduceat(np.abs(values), range(0, len(values), run), axis=0) * 2.0 ** (x_bits - 1)
    if scales.multipliers is None:
        return reach.sum(axis=0)
    return np.ceil(np.ldexp(reach * scales.multipliers, -group_shift)).sum(axis=0)


def finish(scales, values, run, bias, *, x_bits):
    """Choose the group shift, the channels' shifts and the integer biases.

    The group shift is the smallest that keeps every partial sum plus bias within the 36 bits that are
    requantized, and every bias within 32. It is at most 8, where a unit of the partial sum is as
    coarse as the accumulator's own in the channel's largest group.

    Parameters
    ----------
    scales : HardwareScales
    values : [K, N]
        Weights as integers, in units of their effective scales.
    run : int
        Steps of a group.
    bias : float64 [N]
    x_bits : int
        Width of the rows.

    Returns
    -------
    group_shift : int
    shift : uint8 [N]
    bias : int32 [N]

    Raises
    ------
    ValueError
        If a channel's bias, sum or shift does not fit; the message names the channel.
    """
    for group_shift in range(1 if scales.multipliers is None else 9):
        integers = np.rint(np.ldexp(bias / scales.unit, -group_shift))
        narrow = (integers >= -2.0 ** 31) & (integers < 2.0 ** 31)
        total = _largest_sum(scales, values, run, x_bits, group_shift) + np.abs(integers)
        fits = total < 2.0 ** (REQUANT_BITS - 1)
        if narrow.all() and fits.all():
            break
    if not narrow.all():
        n = int(np.argmin(narrow))
        raise ValueError(f"bias of channel {n} is {bias[n]:g}, {integers[n]:.0f} units of its partial sum: "
                         "must fit 32 bits; its scales are too small for it")
    if not fits.all():
        n = int(np.argmin(fits))
        raise ValueError(f"sums of channel {n} reach {total[n]:.0f}: must fit {REQUANT_BITS} bits")
    shift = scales.exponent - group_shift
    if (shift < 0).any() or (shift > 63).any():
        n = int(np.argmax((shift < 0) | (shift > 63)))
        raise ValueError(f"shift of channel {n} is {shift[n]}: must be 0 to 63; "
                         f"y_scale is too {'small' if shift[n] < 0 else 'large'} for its weights")
    return group_shift, shift.astype(np.uint8), integers.astype(np.int32)
