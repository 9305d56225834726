"""The border of the array."""

import gc

import numpy as np
import pytest
from olivine.linear.border import Border, DecodedBorder
from olivine.olive.formats import LaneFormat
from olivine_golden.array import lane_values
from olivine_golden.border import lane_operands

from tests.simulate import run


@pytest.mark.parametrize("lanes, element", [(4, "folded"), (4, "exponent"),
                                            pytest.param(8, "exponent", marks=pytest.mark.slow)])
def test_border(lanes, element):
    run(DecodedBorder(lanes, element), "tb.linear.border", expected=5,
        parameters={"lanes": lanes, "element": element})


@pytest.mark.parametrize("lanes, staged", [(4, False), (4, True), pytest.param(16, True, marks=pytest.mark.slow)])
def test_pairs_across_lanes(lanes, staged):
    run(DecodedBorder(lanes, "folded", across=True, staged=staged), "tb.linear.border", expected=8,
        parameters={"lanes": lanes, "element": "folded", "across": 1})


def test_golden_pairs_across_lanes_by_hand():
    """Lanes 0 and 1 take the first byte's pair; with ``odd``, that of the first byte of the upper half."""
    word = [0x12, 0x34, 0x56, 0x78]
    assert lane_operands(word, LaneFormat.INT4, "folded", across=True)[0] == [1, 2, 3, 4]
    assert lane_operands(word, LaneFormat.INT4, "folded", odd=True, across=True)[0] == [5, 6, 7, -8]
    assert lane_operands([0x88, 0, 0, 0], LaneFormat.OVP4_INT, "folded", across=True)[1].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("fmt", list(LaneFormat))
def test_golden_elements_agree(fmt):
    """What the two elements' operands are worth is the same; of INT8, the sum of two lanes."""
    word = np.arange(256)
    for odd in (False, True):
        values, _ = lane_operands(word, fmt, "folded", odd)
        halves = [lane_operands(word, fmt, "exponent", odd, half)[0] for half in (0, 1)]
        worth = [lane_values(*np.array(half).T) for half in halves]
        if fmt is LaneFormat.INT8:
            assert np.concatenate([each[0::2] + each[1::2] for each in worth]).tolist() == values
            assert values == [*range(128), *range(-128, 0)]
        else:
            assert worth[0].tolist() == worth[1].tolist() == values


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_refuses():
    with pytest.raises(ValueError, match="element is 'float': allowed are 'folded', 'exponent'"):
        Border(8, "float")
    with pytest.raises(ValueError, match="element is 'exponent': pairs across lanes need 'folded'"):
        Border(8, "exponent", across=True)
    with pytest.raises(ValueError, match="element is 'exponent': a border with a register needs 'folded'"):
        Border(8, "exponent", staged=True)
    gc.collect()    # what was refused goes here, and not in another test
