"""The epilogue: its golden model by hand, the gateware against it."""

import gc

import numpy as np
import pytest
from olivine.linear.epilogue import Epilogue
from olivine.linear.sequencer import tile_tag
from olivine.olive.array import OliveArray
from olivine_golden.epilogue import requantize, scale_run

from tests.linear.configs import CONFIGS, SHARED, SMALL, WIDE, given
from tests.simulate import run

LONG = (SMALL, WIDE, SHARED[2])


def drain_shape(config):
    array = OliveArray(config.rows, config.lanes, config.element, config.drain_columns, tile_tag(config))
    return array.o.shape()


@pytest.mark.parametrize("config", [
    pytest.param(config, id=config.name, marks=[pytest.mark.slow] if config in LONG else [])
    for config in (*CONFIGS, *SHARED)])
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_epilogue(config):
    component = Epilogue(config, drain_shape(config))
    gc.collect()    # the array that gave its shape goes here, and not in another test
    run(component, "tb.linear.epilogue", parameters=given(config, latency=component.latency), expected=5)


def test_golden_by_hand():
    assert scale_run([3, -3], None, 0).tolist() == [3, -3]
    assert scale_run([3, -3], np.array([255, 255], np.uint8), 1).tolist() == [383, -382]
    done = requantize(np.array([1 << 35, -(1 << 35) - 1, 100, -3, -5]), np.array([0, 0, -99, 0, 0], np.int32),
                      np.array([1, 1, 300, 1, 1], np.uint16), np.array([30, 30, 0, 1, 1], np.uint8), 8)
    assert done.y.tolist() == [32, -32, 127, -1, -2]
    assert done.sum_saturated.tolist() == [True, True, False, False, False]
    assert done.output_saturated.tolist() == [False, False, True, False, False]
