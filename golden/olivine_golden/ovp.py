"""Golden codec of the lane formats: twin of `olivine.olive.decoder` and `olivine.olive.encoder`.

The first element of a pair is the high nibble of its byte. In the outlier-victim formats (OliVe,
ISCA'23) a nibble equal to the identifier is a victim and reads 0; its neighbour is then an outlier
in E2M1. An identifier beside another identifier or beside a zero code means nothing: such a byte is
*illegal*, reads (0, 0) and is counted.

Every 4-bit element also has the form <exponent, integer>, its value being ``integer << exponent``.
An INT8 byte splits into <4, high signed nibble> and <0, low unsigned nibble>, whose values add up.

The tables below are built by arithmetic from the formats' definitions, element by element; the
hardware gets the same values by gates.
"""

from functools import lru_cache

import numpy as np
from olivine.olive.formats import FLINT4_MAGNITUDES, IDENTIFIER, OUTLIER_BIAS, LaneFormat

__all__ = ["normal_values", "outlier_values", "normal_term", "outlier_term", "pair_terms", "decode_terms",
           "decode_pairs", "decode_codes", "encode_pairs", "join_codes"]


def _is_ovp(fmt):
    return fmt in OUTLIER_BIAS


def normal_term(code, fmt):
    """<exponent, integer> of a 4-bit ``code`` read as a normal."""
    if fmt is LaneFormat.OVP4_FLINT:
        magnitude = FLINT4_MAGNITUDES[code & 7]
        # Two bits of integer are enough: 4 = 2 << 1, 6 = 3 << 1, 8 = 1 << 3, 16 = 1 << 4.
        exponent, integer = {4: (1, 2), 6: (1, 3), 8: (3, 1), 16: (4, 1)}.get(magnitude, (0, magnitude))
        return exponent, -integer if code & 8 else integer
    return 0, code - 16 if code & 8 else code


def outlier_term(code, fmt):
    """<exponent, integer> of a 4-bit ``code`` read as an E2M1 outlier; (0, 0) where it means nothing."""
    exponent, mantissa = code >> 1 & 3, code & 1
    if not code & 7:
        return 0, 0
    return exponent + OUTLIER_BIAS[fmt], -(2 + mantissa) if code & 8 else 2 + mantissa


def _value(term):
    return term[1] << term[0]


def normal_values(fmt):
    """Value of each normal code of a 4-bit format, ``{code: value}``, without the identifier."""
    return {code: _value(normal_term(code, fmt)) for code in range(16)
            if not (_is_ovp(fmt) and code == IDENTIFIER)}


def outlier_values(fmt):
    """Value of each usable outlier code of an outlier-victim format, ``{code: value}``."""
    return {code: _value(outlier_term(code, fmt)) for code in range(16) if code & 7}


def pair_terms(byte, fmt):
    """``((exponent, integer), (exponent, integer), illegal)`` of one byte."""
    high, low = byte >> 4, byte & 15
    if fmt is LaneFormat.INT8:
        return (4, high - 16 if high & 8 else high), (0, low), False
    if _is_ovp(fmt):
        if high == IDENTIFIER:
            return (0, 0), outlier_term(low, fmt), not low & 7
        if low == IDENTIFIER:
            return outlier_term(high, fmt), (0, 0), not high & 7
    return normal_term(high, fmt), normal_term(low, fmt), False


@lru_cache
def _decode_table(fmt):
    """int64 [256, 5]: exponent and integer of the first element, of the second, illegal."""
    return np.array([(*first, *second, illegal)
                     for first, second, illegal in (pair_terms(byte, fmt) for byte in range(256))])


def _bytes(codes):
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"codes must be integers, not {codes.dtype}")
    if codes.size and not (codes.min() >= 0 and codes.max() < 256):
        raise ValueError(f"codes range from {codes.min()} to {codes.max()}: allowed is 0 to 255")
    return codes.astype(np.intp)


def decode_terms(codes, fmt):
    """``(exponent, integer, exponent, integer, illegal)`` of the bytes ``codes``, integer arrays."""
    return tuple(np.moveaxis(_decode_table(LaneFormat(fmt))[_bytes(codes)], -1, 0))


def decode_pairs(codes, fmt):
    """Decode bytes.

    Parameters
    ----------
    codes : uint8 array
    fmt : LaneFormat

    Returns
    -------
    first, second : int64 arrays
        The two elements; in INT8 both are the byte's value.
    illegal : int64 array
        1 where the byte is illegal.
    """
    e0, i0, e1, i1, illegal = decode_terms(codes, fmt)
    first, second = i0 << e0, i1 << e1
    if LaneFormat(fmt) is LaneFormat.INT8:
        first = second = first + second
    return first, second, illegal


def join_codes(codes):
    """Bytes [ceil(K/2), ...] of nibbles [K, ...]: pairs along the first axis, an odd tail padded with 0."""
    codes = np.asarray(codes)
    if codes.size and not (codes.min() >= 0 and codes.max() < 16):
        raise ValueError(f"codes range from {codes.min()} to {codes.max()}: nibbles are 0 to 15")
    codes = codes.astype(np.uint8)
    if len(codes) % 2:
        codes = np.concatenate([codes, np.zeros((1, *codes.shape[1:]), np.uint8)])
    return codes[0::2] << 4 | codes[1::2]


def decode_codes(codes, fmt):
    """Decode 4-bit codes [K, ...], paired along the first axis, to int64 [K, ...].

    In INT8 a code is a byte of its own.
    """
    codes = np.asarray(codes)
    if LaneFormat(fmt) is LaneFormat.INT8:
        return decode_pairs(codes, fmt)[0]
    first, second, _ = decode_pairs(join_codes(codes), fmt)
    values = np.empty((2 * len(first), *codes.shape[1:]), np.int64)
    values[0::2], values[1::2] = first, second
    return values[:len(codes)]


# The encoder. Inputs are in half units of the format's step: one fractional bit, which holds every
# decision point of every grid exactly.

_REACH = 1024
"""Inputs beyond +-_REACH half units encode as +-_REACH does: past every decision point of 4 bits."""


def _nearest(grid, code):
    """``code`` of the nearest entry of ``grid``, of equally near ones the later, for -_REACH .. _REACH."""
    inputs = np.arange(-_REACH, _REACH + 1)[:, None]
    distance = np.abs(inputs - 2 * np.array(grid))
    return np.array(code)[len(grid) - 1 - np.argmin(distance[:, ::-1], axis=1)]


@lru_cache
def _encode_tables(fmt):
    """Code, whether it is an outlier, and whether it saturates, for each input in -_REACH .. _REACH."""
    normals = sorted((value, code, 0, 0) for code, value in normal_values(fmt).items())
    if _is_ovp(fmt):
        outliers = sorted((value, code, 1, 0) for code, value in outlier_values(fmt).items())
        # Past the ends lie the values that the next exponent would have: what rounds there saturates.
        beyond = 4 << 3 + OUTLIER_BIAS[fmt]
        outliers = [(-beyond, 15, 1, 1), *outliers, (beyond, 7, 1, 1)]
        # Normals first: where a normal and an outlier are equally near, the outlier is the later one.
        entries = normals + outliers
    else:
        entries = [(-9, 8, 0, 1), *normals, (8, 7, 0, 1)]
    grid = [entry[0] for entry in entries]
    return tuple(_nearest(grid, [entry[i] for entry in entries]) for i in (1, 2, 3))


def _half_units(name, value):
    value = np.asarray(value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers in half units, not {value.dtype}")
    return value.astype(np.int64)


def encode_pairs(first, second, fmt, first_wins=False):
    """Encode pairs of fixed-point values with one fractional bit, as the hardware encoder does.

    A normal takes the nearest code, an outlier (9.5 or more in magnitude in OVP4_INT, 20 in
    OVP4_FLINT) the nearest outlier code; in both, the greater value where two are equally near.
    Beyond the largest code values saturate. Of two outliers the larger magnitude survives, the first
    of equals.

    Parameters
    ----------
    first, second : int arrays
        Elements in units of half a step: 7 means 3.5.
    fmt : LaneFormat
    first_wins : bool
        Of two outliers the first survives whatever the magnitudes: the rule of the OliVe authors'
        published code.

    Returns
    -------
    codes : uint8 array, in INT8 uint16
        One byte a pair; in INT8 two, the first element in the low byte.
    saturated : int64 array
        Number of the pair's stored elements that were beyond their format's range, 0 to 2.
    """
    fmt = LaneFormat(fmt)
    first, second = np.broadcast_arrays(_half_units("first", first), _half_units("second", second))
    if fmt is LaneFormat.INT8:
        codes, saturated = 0, 0
        for position, value in enumerate((first, second)):
            rounded = (value >> 1) + (value & 1)
            clamped = np.clip(rounded, -128, 127)
            codes = codes | (clamped & 0xff) << 8 * position
            saturated = saturated + (rounded != clamped)
        return codes.astype(np.uint16), saturated
    code, outlier, saturates = _encode_tables(fmt)
    at0, at1 = (np.clip(value, -_REACH, _REACH) + _REACH for value in (first, second))
    c0, c1, s0, s1 = code[at0], code[at1], saturates[at0], saturates[at1]
    # 0: neither is an outlier, both are stored.
    o0, o1 = outlier[at0] == 1, outlier[at1] == 1
    keep0 = o0 & (~o1 | first_wins | (np.abs(first) >= np.abs(second)))
    keep1 = o1 & ~keep0
    codes = np.where(keep1, IDENTIFIER, c0) << 4 | np.where(keep0, IDENTIFIER, c1)
    return codes.astype(np.uint8), np.where(keep1, 0, s0) + np.where(keep0, 0, s1)
