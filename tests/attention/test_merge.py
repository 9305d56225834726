"""Merging of weighted values: the gateware against golden functions."""

import pytest
from olivine.attention.merge import BlockMerge
from olivine.attention.sequencer import TILE_SPACING

from tests.attention.sizes import SIZES, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", SIZES, ids=names)
def test_gateware_equals_golden(config):
    component = BlockMerge(config)
    parameters = given(config, latency=component.latency, spacing=component.spacing)
    run(component, "tb.attention.merge", parameters=parameters, expected=4)


def test_same_dim_may_return_within_the_time_between_two_drains():
    assert BlockMerge.spacing <= TILE_SPACING
