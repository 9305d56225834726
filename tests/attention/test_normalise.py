"""Normaliser: the gateware against golden functions."""

import pytest
from olivine.attention.normalise import Normaliser

from tests.attention.sizes import SERIAL, each_size
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", each_size(SERIAL))
def test_gateware_equals_golden(config):
    component = Normaliser(config)
    run(component, "tb.attention.normalise", simulator="verilator", expected=5,
        parameters=given(config, latency=component.latency))
