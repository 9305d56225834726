"""Score scaler: the gateware against golden functions."""

import pytest
from olivine.attention.score import ScoreScaler, dot_bits

from tests.attention.sizes import SIZES, each_size, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", each_size())
def test_gateware_equals_golden(config):
    component = ScoreScaler(config)
    run(component, "tb.attention.score", simulator="verilator", expected=8,
        parameters=given(config, latency=component.latency))


@pytest.mark.parametrize("config", SIZES, ids=names)
def test_dot_products_fit(config):
    largest = 2048 * 192 * config.max_head_dim
    bits = dot_bits(config)
    assert -1 << bits - 1 <= -largest and largest <= (1 << bits - 1) - 1
    assert bits <= 36, "two 18-bit multiplier inputs"
