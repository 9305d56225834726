"""Pages on their way to the array."""

import pytest
from olivine.attention.pages import PageAddresses, PageLoader

from tests.attention.configs import CONFIGS, NARROW
from tests.linear.configs import given
from tests.simulate import run

PAGED = (*CONFIGS, NARROW)
sizes = pytest.mark.parametrize("config", PAGED, ids=[config.name for config in PAGED])


@sizes
def test_addresses(config):
    run(PageAddresses(config), "tb.attention.pages", parameters=given(config, unit="addresses"), expected=18)


@sizes
def test_loader(config):
    run(PageLoader(config), "tb.attention.pages", parameters=given(config, unit="loader"), expected=11)
