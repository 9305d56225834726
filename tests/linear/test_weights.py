"""Weights on their way to the array."""

import pytest
from olivine.linear.weights import WeightAddresses, WeightLoader

from tests.linear.configs import CONFIGS, given, names
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_addresses(config):
    run(WeightAddresses(config), "tb.linear.weights", parameters=given(config, unit="addresses"), expected=14)


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_loader(config):
    run(WeightLoader(config), "tb.linear.weights", parameters=given(config, unit="loader"), expected=7)
