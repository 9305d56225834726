"""Softmax of a page: the gateware against golden functions."""

import gc
from dataclasses import replace

import pytest
from olivine.attention.softmax import BlockSoftmax

from tests.attention.sizes import SIZES, TINY, names
from tests.linear.configs import given
from tests.simulate import run

# What is only constructed is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.mark.parametrize("config", SIZES, ids=names)
def test_gateware_equals_golden(config):
    component = BlockSoftmax(config)
    run(component, "tb.attention.softmax", parameters=given(config, latency=component.latency), expected=5)


def test_refuses_short_pages():
    with pytest.raises(ValueError, match="lanes is 4: the softmax needs 8 or more"):
        BlockSoftmax(replace(TINY, lanes=4, tile_bytes=0))
    gc.collect()    # what was refused goes here, and not in another test
