"""Normalization, logarithm, reciprocal and quotient: stated errors, gateware against golden."""

from fractions import Fraction

import numpy as np
import pytest
from olivine.numerics.log2 import LOG2_TABLE, Log2
from olivine.numerics.normalize import Normalize
from olivine.numerics.quotient import MIN_EXPONENT, Quotient
from olivine.numerics.reciprocal import RECIPROCAL_LINES, Reciprocal
from olivine_golden import log2, reciprocal
from olivine_golden.exp2 import exp2

from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def test_tables_agree():
    assert LOG2_TABLE == tuple(log2.TABLE.tolist())
    assert [line["base"] for line in RECIPROCAL_LINES] == reciprocal.BASE.tolist()
    assert [line["slope"] for line in RECIPROCAL_LINES] == reciprocal.SLOPE.tolist()
    assert MIN_EXPONENT == reciprocal.MIN_EXPONENT


def test_logarithm_table_is_far_from_ties():
    exact = 256 * np.log2(1 + (np.arange(1024) + 0.5) / 1024)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 5e-4


def test_normalize():
    values = np.concatenate([np.arange(1, 3000), 1 << np.arange(32), (2 << np.arange(32)) - 1])
    exponent, mantissa = reciprocal.normalize(values)
    assert exponent.tolist() == [value.bit_length() - 1 for value in values.tolist()]
    assert (mantissa >> 31 == 1).all() and (mantissa == values << 31 - exponent).all()
    assert [int(v) for v in reciprocal.normalize(0)] == [0, 0]


def test_logarithm_error_is_as_stated():
    # Between two entries' ends the error is monotonic, so these are the worst cases of long words;
    # short words are taken one and all.
    entries = (1 << 31) + (np.arange(1 << 10) << 21)
    values = np.concatenate([entries, entries + (1 << 21) - 1, np.arange(1, 1 << 16)])
    assert np.abs(log2.log2_q8(values) - 256 * np.log2(values)).max() < 0.68
    assert log2.log2_q8(1 << np.arange(32)).tolist() == [256 * e for e in range(32)]
    assert log2.log2_q8(0) == 0 and log2.log2_q8((1 << 32) - 1) == 8192


def test_reciprocal_error_is_as_stated():
    # The 20 bits that are looked at, one and all, with the first and the last of the bits below.
    for below in (0, (1 << 11) - 1):
        mantissa = (1 << 31) + (np.arange(1 << 20) << 11) + below
        exact = 2.0 ** 48 / mantissa
        result = reciprocal.reciprocal(mantissa)
        error = np.abs(result - exact)
        assert error.max() < 1.01 and error[1 << 12:].max() < 0.825
        assert (error / exact).max() < 0.292 * 2.0 ** -15
        assert result.min() == 1 << 16 and result.max() == (1 << 17) - 1


def test_quotient_is_within_its_bound_of_exact_division():
    rng = np.random.default_rng(1)
    denominator = (2 ** rng.uniform(15.01, 32, 200_000)).astype(np.int64)
    numerator = np.clip(rng.uniform(-257, 257, denominator.size) * denominator, -(1 << 39), (1 << 39) - 1)
    numerator = numerator.astype(np.int64)
    exact = np.clip(numerator.astype(np.longdouble) * 128 / denominator, -32768, 32767)
    assert np.abs(reciprocal.quotient(numerator, denominator) - exact).max() < 0.8
    # A few against exact fractions, long double has been known to be short.
    for n, d, y in list(zip(numerator.tolist(), denominator.tolist(),
                            reciprocal.quotient(numerator, denominator).tolist()))[:2000]:
        assert abs(y - min(max(Fraction(128 * n, d), -32768), 32767)) < 0.8


def test_quotient_of_an_empty_row_is_zero_and_short_denominators_are_refused():
    assert reciprocal.quotient([0, 5 << 20], [0, 1 << 20]).tolist() == [0, 640]
    with pytest.raises(ValueError, match="denominator is 32767: must be 32768 or more, or 0"):
        reciprocal.quotient([1], [32767])
    with pytest.raises(ValueError, match="a denominator of 0 needs a numerator of 0"):
        reciprocal.quotient([1], [0])


def test_a_row_that_saw_a_key_has_a_long_enough_denominator():
    # The largest score of a page is at most 255 steps below the integer maximum.
    assert int(exp2(np.arange(256)).min()) << 5 >= 1 << MIN_EXPONENT


@pytest.mark.parametrize("width", [7, 0, 128, "32"])
def test_normalize_refuses_widths(width):
    with pytest.raises(ValueError, match=f"width is {width!r}: allowed are 4, 8, 16, 32 and 64"):
        Normalize(width)


@pytest.mark.parametrize("unit, arguments, testbench", [
    *((Normalize, {"width": width}, "normalize") for width in (4, 8, 32)),
    (Log2, {}, "log2"), (Reciprocal, {}, "reciprocal"), (Quotient, {}, "quotient"),
])
def test_gateware_equals_golden(unit, arguments, testbench):
    component = unit(**arguments)
    run(component, f"tb.numerics.{testbench}", parameters={"latency": component.latency}, expected=2)
