import gc

import pytest
from olivine.memory.crossing import AxiCrossing

from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def _run(master_ps, slave_ps, depth=16, bus_bits=64, simulator="icarus"):
    run(AxiCrossing(32, bus_bits, 2, depth), "tb.memory.crossing", simulator=simulator, expected=6,
        parameters={"master_ps": master_ps, "slave_ps": slave_ps, "depth": depth})


@pytest.mark.parametrize("master_ps, slave_ps, depth", [(10_000, 27_318, 8), (13_334, 9_974, 16)])
def test_crossing(master_ps, slave_ps, depth):
    _run(master_ps, slave_ps, depth)


@pytest.mark.slow
@pytest.mark.parametrize("master_ps, slave_ps", [(10_000, 10_000), (10_000, 10_014), (40_000, 9_998), (10_006, 70_002)])
@pytest.mark.parametrize("depth", [4, 8, 32])
def test_ratios(master_ps, slave_ps, depth):
    _run(master_ps, slave_ps, depth, bus_bits=32)


@pytest.mark.parametrize("arguments, message", [
    ((12, 32), "addr_width is 12: allowed is 13 to 64"),
    ((32, 48), "bus_bits is 48: allowed are powers of two from 8 to 1024"),
    ((32, 32, 0), "id_width is 0: allowed is 1 to 16"),
    ((32, 32, 1, 12), "depth is 12: allowed are powers of two from 4 to 1024"),
])
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        AxiCrossing(*arguments)
    gc.collect()    # what was refused goes here, and not in another test
