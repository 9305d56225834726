"""The largest logits: golden by hand, the gateware against it."""

import pytest
from olivine.vector.largest import Largest
from olivine_golden.vector.largest import largest

from tests.linear.configs import given
from tests.simulate import run
from tests.vector.sizes import NARROW, WIDE


def test_golden_by_hand():
    values, indices = largest([[3, 7, 7, -1, 3], [0, 0, 0, 0, 0]], 4)
    assert values.tolist() == [[7, 7, 3, 3], [0] * 4] and indices.tolist() == [[1, 2, 0, 4], [0, 1, 2, 3]]
    assert largest([[5]], 8)[0].tolist() == [[5]]


@pytest.mark.parametrize("config, count, simulator, groups", [
    (NARROW, 8, "verilator", 60), pytest.param(WIDE, 8, "verilator", 30, marks=pytest.mark.slow),
    (NARROW, 1, "verilator", 60), (NARROW, 3, "icarus", 8),
])
def test_gateware_equals_golden(config, count, simulator, groups):
    component = Largest(config, count)
    run(component, "tb.vector.largest", simulator=simulator, expected=1,
        parameters=given(config, latency=component.latency, count=groups, entries=count))


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_refusal():
    with pytest.raises(ValueError, match="count is 9: allowed is 1 to 8"):
        Largest(NARROW, 9)
