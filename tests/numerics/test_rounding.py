"""The rounding rule and the saturation rule: golden against exact fractions, gateware against golden."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from olivine.numerics import rounding as gateware
from olivine_golden.rounding import rsh, sat, saturates

from tests.simulate import run

EDGES = [0, 1, -1, 2, -2, 5, -5, (1 << 63) - 1, -(1 << 63), (1 << 62) + 1, -(1 << 62) - 1]


def exact(x, n):
    return floor(Fraction(x, 1 << n) + Fraction(1, 2))


@pytest.mark.parametrize("n", [*range(0, 66), 100])
def test_golden_rsh_is_exact_rounding_half_up(n):
    values = [*range(-300, 300), *EDGES]
    assert rsh(np.array(values), n).tolist() == [exact(x, n) for x in values]
    assert [rsh(x, n) for x in values] == [exact(x, n) for x in values]


def test_golden_rsh_takes_big_integers_and_arrays_of_shifts():
    assert rsh(-3 << 100, 101) == -1
    assert rsh((3 << 100) + 1, 101) == 2
    assert isinstance(rsh(5, 1), int)
    assert rsh(np.array([[5], [-5]]), np.array([0, 1, 2, 64])).tolist() == [[5, 3, 1, 0], [-5, -2, -1, 0]]
    assert rsh(np.array([255], np.uint8), 1).tolist() == [128]


def test_golden_sat_and_saturates():
    values = np.array([-(1 << 63), -129, -128, 0, 127, 128, (1 << 63) - 1])
    assert sat(values, 8).tolist() == [-128, -128, -128, 0, 127, 127, 127]
    assert saturates(values, 8) == 4
    assert saturates(values, 64) == 0 and sat(values, 64).tolist() == values.tolist()
    assert sat(1 << 80, 16) == 32767 and saturates(-32769, 16) == 1 and saturates(-32768, 16) == 0


@pytest.mark.parametrize("call, error, message", [
    (lambda: rsh(1, -1), ValueError, "shift is -1: must be 0 or more"),
    (lambda: rsh(np.array([1]), np.array([-2])), ValueError, "shift is -2: must be 0 or more"),
    (lambda: rsh(np.array([1.5]), 1), TypeError, "x must be integers, not float64"),
    (lambda: sat(np.array([1.5]), 8), TypeError, "x must be integers, not float64"),
    (lambda: sat(np.array([1 << 63], np.uint64), 8), ValueError, "must fit int64"),
    (lambda: sat(1, 0), ValueError, "bits is 0: must be 1 or more"),
    (lambda: gateware.rsh(Signal(8), -1), ValueError, "shift is -1: must be 0 or more"),
    (lambda: gateware.sat(Signal(8), 4), TypeError, r"sat\(\) is defined on signed values"),
    (lambda: gateware.saturates(Signal(8), 4), TypeError, r"saturates\(\) is defined on signed values"),
    (lambda: gateware.sat(Signal(signed(8)), 0), ValueError, "bits is 0: must be 1 or more"),
])
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


class Rounding(wiring.Component):
    """The functions on one word."""

    def __init__(self, width, bits):
        self.bits = bits
        super().__init__({
            "x": In(signed(width)), "shift": In(4), "rsh_signed": Out(signed(width)),
            "rsh_unsigned": Out(unsigned(width)), "sat": Out(signed(min(bits, width))), "saturates": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # Results as wide as the functions make them: too narrow a one would show.
        for out, value in ((self.rsh_signed, gateware.rsh(self.x, self.shift)),
                           (self.rsh_unsigned, gateware.rsh(self.x.as_unsigned(), self.shift)),
                           (self.sat, gateware.sat(self.x, self.bits)),
                           (self.saturates, gateware.saturates(self.x, self.bits))):
            assert value.shape() == out.shape(), (value.shape(), out.shape())
            m.d.comb += out.eq(value)
        return m


@pytest.mark.parametrize("width, bits", [(8, 5), (8, 8), (8, 1), (5, 7)])
def test_gateware_equals_golden_for_every_value_and_shift(width, bits):
    run(Rounding(width, bits), "tb.numerics.rounding", parameters={"width": width, "bits": bits}, expected=1)


@pytest.mark.parametrize("shift", [0, 1, 7, 8, 9])
def test_gateware_takes_constant_shifts(shift):
    assert gateware.rsh(Signal(signed(8)), shift).shape() == signed(8)
    assert gateware.rsh(Signal(8), shift).shape() == unsigned(8)
