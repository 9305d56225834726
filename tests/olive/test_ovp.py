"""The golden codec against the OliVe paper's rules, written here a second time and in plain fractions."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from olivine.olive.formats import IDENTIFIER, LaneFormat
from olivine_golden.ovp import (
    decode_codes,
    decode_pairs,
    decode_terms,
    encode_pairs,
    join_codes,
    normal_values,
    outlier_values,
)

OVP = (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)
FOUR_BIT = (*OVP, LaneFormat.INT4)
EVERY_BYTE = np.arange(256, dtype=np.uint8)

NORMALS = {LaneFormat.OVP4_INT: range(-7, 8),
           LaneFormat.OVP4_FLINT: (-16, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 16),
           LaneFormat.INT4: range(-8, 8)}
OUTLIERS = {LaneFormat.OVP4_INT: (12, 16, 24, 32, 48, 64, 96),
            LaneFormat.OVP4_FLINT: (24, 32, 48, 64, 96, 128, 192)}
THRESHOLD = {LaneFormat.OVP4_INT: Fraction(19, 2), LaneFormat.OVP4_FLINT: Fraction(20)}


def test_code_tables_are_the_published_ones():
    for fmt in FOUR_BIT:
        assert sorted(normal_values(fmt).values()) == sorted(NORMALS[fmt])
    for fmt in OVP:
        assert [outlier_values(fmt)[code] for code in range(1, 8)] == list(OUTLIERS[fmt])
        assert [outlier_values(fmt)[code] for code in range(9, 16)] == [-v for v in OUTLIERS[fmt]]
        assert IDENTIFIER not in normal_values(fmt)
    flint = normal_values(LaneFormat.OVP4_FLINT)
    assert [flint[code] for code in (0, 1, 2, 3, 6, 7, 5, 4)] == [0, 1, 2, 3, 4, 6, 8, 16]


@pytest.mark.parametrize("byte, fmt, pair", [
    (0x34, LaneFormat.OVP4_INT, (3, 4)), (0x78, LaneFormat.OVP4_INT, (96, 0)),
    (0x8F, LaneFormat.OVP4_INT, (0, -96)), (0x81, LaneFormat.OVP4_INT, (0, 12)),
    (0x78, LaneFormat.OVP4_FLINT, (192, 0)), (0x9C, LaneFormat.OVP4_FLINT, (-1, -16)),
    (0x88, LaneFormat.INT4, (-8, -8)), (0x8F, LaneFormat.INT8, (-113, -113)),
])
def test_examples(byte, fmt, pair):
    first, second, illegal = decode_pairs(np.array([byte], np.uint8), fmt)
    assert (first[0], second[0], illegal[0]) == (*pair, 0)


@pytest.mark.parametrize("fmt", OVP)
def test_illegal_bytes_decode_to_zeros_and_are_flagged(fmt):
    first, second, illegal = decode_pairs(EVERY_BYTE, fmt)
    assert np.flatnonzero(illegal).tolist() == [0x08, 0x80, 0x88]
    assert not first[illegal == 1].any() and not second[illegal == 1].any()


@pytest.mark.parametrize("fmt", [LaneFormat.INT4, LaneFormat.INT8])
def test_plain_formats_have_no_illegal_bytes(fmt):
    assert not decode_pairs(EVERY_BYTE, fmt)[2].any()


@pytest.mark.parametrize("fmt", LaneFormat)
def test_terms_fit_the_element_and_are_worth_the_values(fmt):
    e0, i0, e1, i1, illegal = decode_terms(EVERY_BYTE, fmt)
    first, second, _ = decode_pairs(EVERY_BYTE, fmt)
    for exponent, integer in ((e0, i0), (e1, i1)):
        assert 0 <= exponent.min() and exponent.max() <= 6
        assert -16 <= integer.min() and integer.max() <= 15
    if fmt is LaneFormat.INT8:
        assert first.tolist() == second.tolist() == EVERY_BYTE.view(np.int8).tolist()
        assert ((i0 << 4) + i1).tolist() == first.tolist()
    else:
        assert (i0 << e0).tolist() == first.tolist() and (i1 << e1).tolist() == second.tolist()
    assert np.abs(first).max() <= 192


def test_decode_codes_pairs_along_the_first_axis_and_pads_an_odd_tail():
    rng = np.random.default_rng(1)
    for k in (1, 2, 7, 8):
        codes = rng.integers(0, 16, (k, 5), dtype=np.uint8)
        for fmt in FOUR_BIT:
            values = decode_codes(codes, fmt)
            assert values.shape == codes.shape and values.dtype == np.int64
            padded = np.concatenate([codes, np.zeros((k % 2, 5), np.uint8)])
            for j in range(0, k, 2):
                first, second, _ = decode_pairs(padded[j] << 4 | padded[j + 1], fmt)
                assert values[j].tolist() == first.tolist()
                if j + 1 < k:
                    assert values[j + 1].tolist() == second.tolist()
    assert decode_codes(np.array([[200], [5]], np.uint8), LaneFormat.INT8).tolist() == [[-56], [5]]


@cache
def reference_element(value, fmt):
    """Nearest value by the definition: normals below the threshold, outliers from it on, ties up."""
    normal = abs(value) < THRESHOLD[fmt]
    grid = NORMALS[fmt] if normal else sorted([*OUTLIERS[fmt], *(-v for v in OUTLIERS[fmt])])
    return not normal, min(grid, key=lambda entry: (abs(entry - value), -entry))


def reference_pair(first, second, fmt):
    (o0, v0), (o1, v1) = reference_element(first, fmt), reference_element(second, fmt)
    if o0 and (not o1 or abs(first) >= abs(second)):
        return v0, 0
    return (0, v1) if o1 else (v0, v1)


@pytest.mark.parametrize("fmt", OVP)
def test_encoder_follows_the_definition(fmt):
    span = np.r_[-45:46, 111:114, -113:-110, 191:194, 223:226, -226:-222, 447:450, -450:-446, 5000, -5000]
    first, second = (a.ravel() for a in np.meshgrid(span, span))
    codes, _ = encode_pairs(first, second, fmt)
    v0, v1, illegal = decode_pairs(codes, fmt)
    assert not illegal.any()
    expected = [reference_pair(Fraction(a, 2), Fraction(b, 2), fmt)
                for a, b in zip(first.tolist(), second.tolist())]
    assert list(zip(v0.tolist(), v1.tolist())) == expected


@pytest.mark.parametrize("fmt", FOUR_BIT)
def test_every_legal_pair_survives_a_round_trip(fmt):
    first, second, illegal = decode_pairs(EVERY_BYTE, fmt)
    codes, saturated = encode_pairs(2 * first, 2 * second, fmt)
    again = decode_pairs(codes, fmt)
    assert again[0].tolist() == first.tolist() and again[1].tolist() == second.tolist()
    assert not saturated.any()
    if fmt is LaneFormat.INT4:
        assert codes.tolist() == EVERY_BYTE.tolist()


@pytest.mark.parametrize("fmt, half_units, byte, saturated", [
    (LaneFormat.OVP4_INT, (5, 8), 0x34, 0),         # (2.6, 4.2) of the paper, with one fractional bit
    (LaneFormat.OVP4_INT, (18, -18), 0x79, 0),      # 9 is still a normal, clipped to 7
    (LaneFormat.OVP4_INT, (19, 0), 0x18, 0),        # 9.5 is an outlier
    (LaneFormat.OVP4_INT, (0, -19), 0x89, 0),
    (LaneFormat.OVP4_INT, (-1, 1), 0x01, 0),        # -0.5 goes up to 0, 0.5 up to 1
    (LaneFormat.OVP4_INT, (28, 0), 0x28, 0),        # 14 lies between 12 and 16: up
    (LaneFormat.OVP4_INT, (-28, 0), 0x98, 0),       # -14: up as well, to -12
    (LaneFormat.OVP4_INT, (223, 0), 0x78, 0), (LaneFormat.OVP4_INT, (224, 0), 0x78, 1),
    (LaneFormat.OVP4_INT, (-224, 0), 0xF8, 0), (LaneFormat.OVP4_INT, (-225, 0), 0xF8, 1),
    (LaneFormat.OVP4_INT, (40, -40), 0x38, 0),      # 20 between 16 and 24: up; of equals the first
    (LaneFormat.OVP4_INT, (40, -41), 0x8B, 0),      # the larger magnitude survives
    (LaneFormat.OVP4_INT, (300, 400), 0x87, 1),     # what is dropped does not count as saturated
    (LaneFormat.OVP4_FLINT, (-1, -10), 0x0E, 0),    # no negative zero; -5 goes up to -4
    (LaneFormat.OVP4_FLINT, (39, 24), 0x44, 0), (LaneFormat.OVP4_FLINT, (40, 24), 0x18, 0),
    (LaneFormat.OVP4_FLINT, (449, 0), 0x78, 1),
    (LaneFormat.INT4, (14, 15), 0x77, 1), (LaneFormat.INT4, (-17, -18), 0x88, 1),
    (LaneFormat.INT4, (-40, 40), 0x87, 2),
    (LaneFormat.INT8, (254, 255), 0x7F7F, 1), (LaneFormat.INT8, (-3, 6), 0x03FF, 0),
    (LaneFormat.INT8, (-257, -258), 0x8080, 1),
])
def test_decision_points(fmt, half_units, byte, saturated):
    codes, count = encode_pairs(*half_units, fmt)
    assert (hex(codes), int(count)) == (hex(byte), saturated)


def test_first_wins_keeps_the_even_outlier():
    assert encode_pairs(40, -400, LaneFormat.OVP4_INT)[0] == 0x8F
    assert encode_pairs(40, -400, LaneFormat.OVP4_INT, first_wins=True)[0] == 0x38
    assert encode_pairs(1, -400, LaneFormat.OVP4_INT, first_wins=True)[0] == 0x8F


@pytest.mark.parametrize("call, error, message", [
    (lambda: decode_pairs(np.array([256]), LaneFormat.INT4), ValueError, "codes range from 256 to 256"),
    (lambda: decode_pairs(np.array([1.0]), LaneFormat.INT4), TypeError, "codes must be integers, not float"),
    (lambda: join_codes(np.array([16])), ValueError, "codes range from 16 to 16: nibbles are 0 to 15"),
    (lambda: encode_pairs(1.5, 2, LaneFormat.INT4), TypeError, "first must be integers in half units"),
])
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
