"""Pages on their way to the array."""

import pytest
from olivine.attention.pages import PageAddresses, PageLoader

from tests.attention.configs import CONFIGS, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_addresses(config):
    run(PageAddresses(config), "tb.attention.pages", parameters=given(config, unit="addresses"), expected=34)


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_loader(config):
    run(PageLoader(config), "tb.attention.pages", parameters=given(config, unit="loader"), expected=11)
