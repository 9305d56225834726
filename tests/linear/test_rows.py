"""Row operands on their way to the scratchpad."""

import pytest
from olivine.linear.rows import RowAddresses, RowLoader

from tests.linear.configs import CONFIGS, SMALL, TINY, WIDE, given, names
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_addresses(config):
    run(RowAddresses(config), "tb.linear.rows", parameters=given(config, unit="addresses"), expected=34)


@pytest.mark.parametrize("config", [TINY, SMALL, WIDE], ids=["tiny", "small", "wide"])
def test_loader(config):
    run(RowLoader(config), "tb.linear.rows", parameters=given(config, unit="loader"), expected=20)
