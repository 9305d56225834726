"""The table of a job, and the chunks it is cut into."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from olivine.attention.table import ChunkFan, Elements
from olivine.attention.walk import TableWalk
from olivine.stream import Spare

from tests.attention.configs import CONFIGS, TINY, WIDE, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", [pytest.param(TINY, id="tiny"),
                                    pytest.param(WIDE, id="wide", marks=pytest.mark.slow)])
def test_walk(config):
    run(TableWalk(config), "tb.attention.table", parameters=given(config, unit="walk"), expected=44)


@pytest.mark.parametrize("config", [pytest.param(TINY, id="tiny"),
                                    pytest.param(WIDE, id="wide", marks=pytest.mark.slow)])
def test_walk_of_cached_jobs(config):
    run(TableWalk(config), "tb.attention.cached_table", parameters=given(config), expected=3)


class SpareElements(wiring.Component):
    """With a spare place before it, as a unit without a clock cannot be tested: that of words of one element."""

    def __init__(self, bus_bytes):
        self.elements = Elements(bus_bytes)
        super().__init__(self.elements.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.elements = self.elements
        m.submodules.spare = spare = Spare(self.i.payload.shape())
        wiring.connect(m, wiring.flipped(self.i), spare.i)
        wiring.connect(m, spare.o, self.elements.i)
        wiring.connect(m, self.elements.o, wiring.flipped(self.o))
        return m


@pytest.mark.parametrize("bus_bytes", [4, 8, 16, 64])
def test_elements(bus_bytes):
    component = SpareElements(bus_bytes) if bus_bytes == 8 else Elements(bus_bytes)
    run(component, "tb.attention.table", parameters=given(TINY, unit="elements", beat=bus_bytes), expected=14)


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_fan(config):
    run(ChunkFan(config, 4), "tb.attention.table", parameters=given(config, unit="fan"), expected=9)
