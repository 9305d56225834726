"""Partial results on their way to be merged."""

import pytest
from olivine.attention.parts import PartAddresses, PartLoader

from tests.attention.configs import CONFIGS, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_addresses(config):
    run(PartAddresses(config), "tb.attention.parts", parameters=given(config, unit="addresses"), expected=15)


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_loader(config):
    run(PartLoader(config), "tb.attention.parts", parameters=given(config, unit="loader"), expected=12)
