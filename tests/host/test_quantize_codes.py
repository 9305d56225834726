"""Codes of the lane formats: tables, ties, every kind of pair, both ways to choose one."""

import itertools

import numpy as np
import pytest
from olivine.olive.formats import LaneFormat
from olivine_golden.ovp import decode_pairs, encode_pairs
from olivine_host.quantize.codes import PAIRS, codebook

OVP = (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)
STEP = {LaneFormat.OVP4_INT: 9.5, LaneFormat.OVP4_FLINT: 20.0}


def byte(book, first, second, rule="rule"):
    """The byte of one pair, checked to decode to the values that `pairs` states."""
    codes, values = book.pairs(np.array([first]), np.array([second]), rule=rule)
    joined = codes[0] << 4 | codes[1]
    high, low, illegal = decode_pairs(joined, book.format)
    assert (high[0], low[0], illegal[0]) == (values[0][0], values[1][0], 0)
    return int(joined[0])


@pytest.mark.parametrize("format, normals, outliers, threshold", [
    (LaneFormat.OVP4_INT, [0, 1, 2, 3, 4, 5, 6, 7], [12, 16, 24, 32, 48, 64, 96], 9.5),
    (LaneFormat.OVP4_FLINT, [0, 1, 2, 3, 4, 6, 8, 16], [24, 32, 48, 64, 96, 128, 192], 20.0),
])
def test_tables(format, normals, outliers, threshold):
    book = codebook(format)
    assert book.normal.values.tolist() == [-v for v in normals[:0:-1]] + normals
    assert book.outlier.values.tolist() == [-v for v in outliers[::-1]] + outliers
    assert book.threshold == threshold


@pytest.mark.parametrize("format, low, high", [(LaneFormat.INT4, -8, 7), (LaneFormat.INT8, -128, 127)])
def test_plain_tables(format, low, high):
    book = codebook(format)
    assert book.normal.values.tolist() == list(range(low, high + 1))
    assert book.outlier is None


@pytest.mark.parametrize("first, second, expected", [
    (2.6, 4.2, 0x34), (96, 1, 0x78), (500, 0, 0x78), (1, -96, 0x8F), (0, 12, 0x81), (9.49, 1, 0x71),
    (9.5, 1, 0x18), (-9.5, 1, 0x98), (-9.49, 0, 0x90),
])
def test_known_bytes(first, second, expected):
    assert byte(codebook(LaneFormat.OVP4_INT), first, second) == expected


@pytest.mark.parametrize("format", list(LaneFormat))
def test_nearest_goes_up_on_ties(format):
    book = codebook(format)
    for table in filter(None, (book.normal, book.outlier)):
        middles = (table.values[1:] + table.values[:-1]) / 2
        assert np.array_equal(table.nearest(middles), table.values[1:])
        assert np.array_equal(table.nearest(np.nextafter(middles, -np.inf)), table.values[:-1])
        assert np.array_equal(table.nearest(table.values), table.values)
        assert table.nearest(-1e9) == table.values[0] and table.nearest(1e9) == table.values[-1]


@pytest.mark.parametrize("format", OVP)
def test_kinds_of_pair(format):
    book = codebook(format)
    t = STEP[format]

    def kinds(pairs, rule="rule"):
        codes, _ = book.pairs(*np.array(pairs).T, rule=rule)
        return ["NVO"[(c0 == 8) + 2 * (c1 == 8)] for c0, c1 in zip(*codes)]

    # N: both normal; O: first outlier, second victim; V: first victim.
    assert kinds([(1, 2), (t, 1), (1, t), (-t, 1), (1, -t)]) == ["N", "O", "V", "O", "V"]
    assert kinds([(2 * t, t), (t, 2 * t), (t, t), (-t, t), (t, -2 * t)]) == ["O", "V", "O", "O", "V"]
    assert kinds([(t, 2 * t), (2 * t, t), (1, t)], "first_wins") == ["O", "O", "V"]
    below = np.nextafter(t, 0)
    assert kinds([(below, -below), (below, t)]) == ["N", "V"]


@pytest.mark.parametrize("format", OVP)
@pytest.mark.parametrize("rule", ["rule", "first_wins"])
def test_rule_equals_the_hardware_encoder(format, rule):
    # Every half step over the normals, the threshold and the first outliers, both signs.
    half = np.arange(-90, 91)
    first, second = (axis.ravel() for axis in np.meshgrid(half, half))
    codes, _ = codebook(format).pairs(first / 2, second / 2, rule=rule)
    expected, _ = encode_pairs(first, second, format, first_wins=rule == "first_wins")
    assert np.array_equal(codes[0] << 4 | codes[1], expected)


@pytest.mark.parametrize("format", OVP)
def test_least_error_is_the_best_of_all_bytes(format):
    book = codebook(format)
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((2, 500)) * rng.choice([3, 12, 60], 500)
    _, values = book.pairs(first, second)
    error = (values[0] - first) ** 2 + (values[1] - second) ** 2
    high, low, illegal = decode_pairs(np.arange(256), format)
    legal = illegal == 0
    best = ((high[legal, None] - first) ** 2 + (low[legal, None] - second) ** 2).min(axis=0)
    assert error == pytest.approx(best, abs=1e-9)
    _, published = book.pairs(first, second, rule="rule")
    worse = (published[0] - first) ** 2 + (published[1] - second) ** 2
    assert (error <= worse).all() and (error < worse - 1).any()


@pytest.mark.parametrize("format", OVP)
def test_least_error_sees_the_correlation_of_a_pair(format):
    # Against all bytes, in the metric of the inverse Hessian. An outlier is placed exactly; in a pair of
    # normals the first is taken greedily, which costs a little.
    book = codebook(format)
    rng = np.random.default_rng(2)
    u00, u01, u11 = 0.7, 0.9, 0.5
    first, second = rng.standard_normal((2, 400)) * rng.choice([3, 15, 60], 400)

    def cost(v0, v1):
        e0 = (first - v0) / u00
        return e0 ** 2 + ((second - e0 * u01 - v1) / u11) ** 2

    high, low, illegal = decode_pairs(np.arange(256), format)
    legal = [(code, cost(v0, v1)) for code, v0, v1, bad in zip(range(256), high, low, illegal) if not bad]
    codes, values = book.pairs(first, second, (u00, u01, u11))
    victim = (codes[0] == 8) | (codes[1] == 8)
    assert victim.sum() > 50
    outliers = np.min([each for code, each in legal if 8 in (code >> 4, code & 15)], axis=0)
    assert cost(*values)[victim] == pytest.approx(outliers[victim])
    assert (cost(*values) <= outliers + 1e-9).all()
    assert cost(*values).sum() < 1.05 * np.min([each for _, each in legal], axis=0).sum()
    plain = book.pairs(first, second)[1]
    assert cost(*values).sum() < 0.9 * cost(*plain).sum()


def test_second_makes_up_for_the_first():
    """The first's error moves what the second is rounded to, even into an outlier."""
    book = codebook(LaneFormat.OVP4_INT)

    def values(first, second, factor):
        return [float(v[0]) for v in book.pairs(np.array([first]), np.array([second]), factor)[1]]

    assert values(2.4, 3.0, (1.0, 0.0, 1.0)) == [2.0, 3.0]
    assert values(2.4, 3.0, (0.5, 1.0, 1.0)) == [2.0, 2.0]       # target 3 - 0.4 * 2
    # Neither is large, but the second's target becomes 1 - 0.48 * 25 = -11; the first is 0 anyway.
    assert values(0.48, 1.0, (0.1, 2.5, 1.0)) == [0.0, -12.0]


@pytest.mark.parametrize("format", OVP)
def test_odd_last_element_stays_normal(format):
    book = codebook(format)
    codes, values = book.columns(np.array([[1.0], [2.0], [70.0]]))
    assert codes[2, 0] != 8 and values[2, 0] == book.normal.top


def test_every_value_decodes():
    for format, rule in itertools.product(OVP, PAIRS):
        rng = np.random.default_rng(3)
        q = rng.standard_normal((64, 50)) * rng.choice([1, 4, 40], 50)
        codes, values = codebook(format).columns(q, pairs=rule)
        high, low, illegal = decode_pairs(codes[0::2] << 4 | codes[1::2], format)
        assert np.array_equal(high, values[0::2]) and np.array_equal(low, values[1::2]) and not illegal.any()


def test_refuses():
    with pytest.raises(TypeError, match="format must be a LaneFormat, not 'int4'"):
        codebook("int4")
    with pytest.raises(ValueError, match="pairs is 'best': allowed are 'least_error', 'rule', 'first_wins'"):
        codebook(LaneFormat.INT8).pairs(np.zeros(1), np.zeros(1), rule="best")
