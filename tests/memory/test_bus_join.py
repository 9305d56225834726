import gc

import pytest
from olivine.memory.join import BusJoin

from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def _run(masters, id_width, bus_bits=32, simulator="icarus"):
    run(BusJoin(20, bus_bits, masters, id_width), "tb.memory.join", simulator=simulator, expected=7,
        parameters={"masters": masters, "id_width": id_width})


@pytest.mark.parametrize("masters, id_width", [(2, 1), (3, 2)])
def test_join(masters, id_width):
    _run(masters, id_width)


@pytest.mark.slow
def test_on_verilator():
    _run(5, 2, 128, simulator="verilator")


@pytest.mark.parametrize("arguments, message", [
    ((32, 32, 1), "masters is 1: allowed is 2 to 16"),
    ((32, 32, 17), "masters is 17: allowed is 2 to 16"),
    ((32, 32, 3, 15), "id_width is 15: allowed is 1 to 14"),
    ((12, 32, 3), "addr_width is 12: allowed is 13 to 64"),
])
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        BusJoin(*arguments)
    gc.collect()    # what was refused goes here, and not in another test
