"""Results of attention on their way to memory."""

import pytest
from olivine.attention.results import ResultBlocks, ResultPacker

from tests.attention.configs import CONFIGS, SERIAL, TINY, WIDE, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_blocks(config):
    run(ResultBlocks(config), "tb.attention.results", parameters=given(config, unit="blocks"), expected=27)


@pytest.mark.parametrize("config", [TINY, pytest.param(WIDE, marks=pytest.mark.slow), SERIAL],
                         ids=lambda config: config.name)
def test_packer(config):
    component = ResultPacker(config)
    assert component.depth == 2 * config.lanes
    run(component, "tb.attention.results", parameters=given(config, unit="packer"), expected=22,
        simulator="verilator")
