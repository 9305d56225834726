"""Running state: the gateware against golden functions."""

import gc
from dataclasses import replace

import pytest
from olivine.attention.state import RunningState

from tests.attention.sizes import SIZES, SQUARE, TINY, names
from tests.linear.configs import given
from tests.simulate import run

# What is only constructed is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.mark.parametrize("config", SIZES, ids=names)
def test_gateware_equals_golden(config):
    component = RunningState(config)
    assert component.spacing == max(6, config.rows)
    parameters = given(config, latency=component.latency, spacing=component.spacing)
    run(component, "tb.attention.state", parameters=parameters, expected=5)


def test_refuses_pages_that_follow_too_closely():
    with pytest.raises(ValueError, match="lanes is 8: the running state of 16 rows needs pages of 16 or more"):
        RunningState(replace(SQUARE, rows=16))
    with pytest.raises(ValueError, match="lanes is 4: the running state of 2 rows needs pages of 6 or more"):
        RunningState(replace(TINY, lanes=4, tile_bytes=0))
    gc.collect()    # what was refused goes here, and not in another test
