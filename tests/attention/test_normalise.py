"""Normaliser: the gateware against golden functions."""

import pytest
from olivine.attention.normalise import Normaliser

from tests.attention.sizes import SERIAL, SIZES, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", [*SIZES, SERIAL], ids=[*names, SERIAL.name])
def test_gateware_equals_golden(config):
    component = Normaliser(config)
    run(component, "tb.attention.normalise", parameters=given(config, latency=component.latency), expected=5)
