"""The largest logits: golden by hand, the gateware against it."""

from dataclasses import replace

import pytest
from olivine.vector.largest import LaneLargest, Largest
from olivine.vector.picks import Picks
from olivine_golden.vector.largest import largest

from tests.linear.configs import given
from tests.simulate import run
from tests.vector.sizes import HALVES, NARROW, PARTS, WIDE


def test_golden_by_hand():
    values, indices = largest([[3, 7, 7, -1, 3], [0, 0, 0, 0, 0]], 4)
    assert values.tolist() == [[7, 7, 3, 3], [0] * 4] and indices.tolist() == [[1, 2, 0, 4], [0, 1, 2, 3]]
    assert largest([[5]], 8)[0].tolist() == [[5]]


@pytest.mark.parametrize("config, simulator, groups, pattern", [
    (NARROW, "verilator", 60, "half"), pytest.param(WIDE, "verilator", 30, "always", marks=pytest.mark.slow),
    (PARTS, "verilator", 40, "always"), (PARTS, "icarus", 6, "bursty"), (HALVES, "verilator", 20, "half"),
    (replace(NARROW, name="shared", vector_cycles=2), "icarus", 12, "half"),
], ids=lambda value: getattr(value, "name", None))
def test_gateware_equals_golden(config, simulator, groups, pattern):
    run(Picks(config), "tb.vector.largest", simulator=simulator, expected=1,
        parameters=given(config, count=groups, pattern=pattern))


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_refusal():
    with pytest.raises(ValueError, match="count is 9: allowed is 1 to 8"):
        Largest(NARROW, 9)
    with pytest.raises(ValueError, match="vector_cycles is 4: allowed is 1"):
        Largest(PARTS)
    with pytest.raises(ValueError, match="parts is 3: allowed are powers of two"):
        LaneLargest(3)
