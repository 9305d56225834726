import gc

import pytest
from olivine.memory.scratchpad import Scratchpad
from olivine.memory.split import BusSplit

from tests.memory.split_bench import SplitBench
from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.mark.parametrize("addr_width, bus_bits, words, id_width, simulator", [
    (16, 32, 1024, 2, "icarus"), pytest.param(20, 128, 2048, 4, "verilator", marks=pytest.mark.slow)])
def test_split(addr_width, bus_bits, words, id_width, simulator):
    run(SplitBench(addr_width, bus_bits, words, id_width), "tb.memory.split", name="split_bench", simulator=simulator,
        expected=9, parameters={"words": words, "id_width": id_width})


@pytest.mark.parametrize("arguments, message", [
    ((32, 32, 2048), "window_bytes is 2048: allowed are powers of two from 4096"),
    ((32, 32, 4096, 9), "id_width is 9: allowed is 1 to 8"),
])
def test_split_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        BusSplit(*arguments)
    gc.collect()


@pytest.mark.parametrize("arguments, message", [
    ((32, 32, 100), "words is 100: allowed are powers of two from 16"),
    ((32, 24, 64), "bus_bits is 24: allowed are powers of two from 16"),
])
def test_scratchpad_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Scratchpad(*arguments)
    gc.collect()
