"""Results on their way to memory."""

import pytest
from olivine.linear.results import ResultBlocks, ResultPacker

from tests.linear.configs import CONFIGS, given, names
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_blocks(config):
    run(ResultBlocks(config), "tb.linear.results", parameters=given(config, unit="blocks"), expected=34)


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_packer(config):
    run(ResultPacker(config), "tb.linear.results", parameters=given(config, unit="packer"), expected=12)
