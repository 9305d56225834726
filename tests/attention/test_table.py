"""The table of a job, and the chunks it is cut into."""

import pytest
from olivine.attention.table import ChunkFan, Elements
from olivine.attention.walk import TableWalk

from tests.attention.configs import CONFIGS, TINY, WIDE, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", [pytest.param(TINY, id="tiny"),
                                    pytest.param(WIDE, id="wide", marks=pytest.mark.slow)])
def test_walk(config):
    run(TableWalk(config), "tb.attention.table", parameters=given(config, unit="walk"), expected=43)


@pytest.mark.parametrize("bus_bytes", [4, 8, 16, 64])
def test_elements(bus_bytes):
    run(Elements(bus_bytes), "tb.attention.table", parameters=given(TINY, unit="elements", beat=bus_bytes), expected=14)


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_fan(config):
    run(ChunkFan(config, 4), "tb.attention.table", parameters=given(config, unit="fan"), expected=9)
