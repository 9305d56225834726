"""Powers of two: the table, its stated error, gateware against golden."""

import numpy as np
import pytest
from olivine.numerics.exp2 import EXP2_TABLE, Exp2
from olivine_golden.exp2 import TABLE, exp2

from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def test_tables_agree_and_are_far_from_ties():
    assert EXP2_TABLE == tuple(TABLE.tolist())
    # So that another platform's last bit of pow() cannot change an entry.
    exact = 2047 * 2.0 ** (5 - np.arange(256) / 256)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-3


def test_error_is_as_stated():
    t = np.arange(1 << 17)
    p = exp2(t)
    assert np.abs(p - 2047 * 2.0 ** (-t / 256)).max() < 0.516
    assert p[0] == 2047 and (np.diff(p) <= 0).all()
    assert p[3071] == 1 and not p[3072:].any()


def test_golden_refuses_what_it_is_not_defined_on():
    with pytest.raises(ValueError, match="t is -3: must be 0 or more"):
        exp2([4, -3])
    with pytest.raises(TypeError, match="t must be integers, not float64"):
        exp2([0.5])


@pytest.mark.parametrize("arguments, error, message", [
    ({"width": 8}, ValueError, "width is 8: allowed is 9 to 32"),
    ({"width": 17.0}, TypeError, "width must be int, not 17.0"),
    ({"lanes": 3}, ValueError, "lanes is 3: allowed is 1 to 2"),
    ({"lanes": True}, TypeError, "lanes must be int, not True"),
])
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        Exp2(**arguments)


@pytest.mark.parametrize("lanes, width", [(1, 17), (2, 20)])
def test_gateware_equals_golden(lanes, width):
    component = Exp2(width, lanes)
    run(component, "tb.numerics.exp2", parameters={"latency": component.latency}, expected=3)
