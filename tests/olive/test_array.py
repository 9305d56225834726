"""The array: its golden model by itself, the gateware against it."""

import gc

import numpy as np
import pytest
from olivine.config import CHANNEL_RUN, LANE_MAX, ROW_BITS
from olivine.olive import ecp5
from olivine.olive.array import OliveArray, sum_bits
from olivine.verilog import design
from olivine_golden.array import accumulate, lane_values

from tests.netlist.cells import with_cells
from tests.simulate import run

TAG_BITS = 9


def parameters(array, latency):
    return {"rows": array.rows, "lanes": array.lanes, "element": array.element, "columns": array.columns,
            "tag_bits": TAG_BITS, "steps": array.steps, "latency": latency}


@pytest.mark.parametrize("element", ["folded", "exponent"])
@pytest.mark.parametrize("rows, lanes, columns, steps", [(2, 8, 1, CHANNEL_RUN), (3, 4, 2, 200)])
def test_array(element, rows, lanes, columns, steps):
    array = OliveArray(rows, lanes, element, columns, TAG_BITS, steps)
    assert array.drain_cycles == lanes // columns
    run(array, "tb.olive.array", expected=6, parameters=parameters(array, array.latency))


@pytest.mark.parametrize("rows, lanes, columns, steps", [(2, 8, 1, CHANNEL_RUN), (1, 16, 2, 200)])
def test_of_ecp5_cells(rows, lanes, columns, steps):
    array = OliveArray(rows, lanes, "folded", columns, TAG_BITS, steps)
    made = design(array, platform=ecp5.TARGET)
    assert made.text.count("MULT18X18D #") == rows * lanes and " * " not in made.text
    run(with_cells(made), "tb.olive.array", expected=6, parameters=parameters(array, array.ecp5_latency))


def test_sites_of_multipliers():
    class Die:
        family, device = "ecp5", "LFE5U-85F"

    sites = ecp5.multiplier_sites(Die)
    assert len(set(sites)) == len(sites) == 156 and sites[0] == "X49/Y58/MULT18_0"
    assert {int(site.split("/")[1][1:]) for site in sites} == {10, 34, 58}
    # Elements that follow each other stand in one block of nine columns, in the next or in the one behind; but for one
    # jump, from the lower left to the upper right.
    x = [int(site.split("/")[0][1:]) for site in sites[:128]]
    gaps = sorted(abs(a - b) for a, b in zip(x, x[1:]))
    assert gaps[-2] <= 25 and gaps[-1] == 105
    assert ecp5.multiplier_sites(ecp5.TARGET) == []


@pytest.mark.parametrize("steps, bits", [(128, 27), (170, 27), (171, 28), (256, 28), (1 << 20, 32)])
def test_width_of_sums(steps, bits):
    assert sum_bits(steps) == bits
    assert bits == 32 or steps * LANE_MAX << ROW_BITS - 1 < 1 << bits - 1


def test_golden_sums():
    row, lane = np.array([[1, -2], [3, 4]]), np.array([[5, 6, 7, 8], [-1, 0, 1, 2]])
    assert accumulate(row, lane).tolist() == [[2, -14], [6, -12], [10, -10], [14, -8]]
    assert accumulate(row, lane, pairs=True).tolist() == [[8, -26], [24, -18]]
    assert lane_values([0, 4, 6], [-8, -8, 3]).tolist() == [-8, -128, 192]


def test_golden_refusals():
    with pytest.raises(ValueError, match=r"row has shape \(2, 1\) and lane \(3, 1\)"):
        accumulate([[1], [1]], [[1], [1], [1]])
    with pytest.raises(ValueError, match="a sum of 2147483648 overflows 32 bits"):
        accumulate([[1 << 16]], [[1 << 15]])


@pytest.mark.parametrize("arguments, message", [
    ({"element": "float"}, "element is 'float': allowed are 'folded', 'exponent'"),
    ({"columns": 3}, "columns is 3: allowed are 1 and 2"),
    ({"lanes": 6, "columns": 2}, "lanes is 6: must be a multiple of 4"),
    ({"lanes": 7}, "lanes is 7: must be a multiple of 2"),
])
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        OliveArray(**{"rows": 2, "lanes": 8, **arguments})
    gc.collect()    # what was refused goes here, and not in another test
