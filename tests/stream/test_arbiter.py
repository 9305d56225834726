"""Arbiter, in simulation."""

import gc

import pytest
from olivine.stream import Arbiter

from tests.simulate import run


@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
def test_arbiter(inputs):
    run(Arbiter(8, inputs), "tb.stream.arbiter", parameters={"INPUTS": inputs}, expected=29)


@pytest.mark.slow
def test_on_verilator():
    run(Arbiter(8, 2), "tb.stream.arbiter", simulator="verilator", parameters={"INPUTS": 2}, expected=29)


# What a constructor refuses is never elaborated.
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("inputs, error, text", [
    (0, ValueError, "arbiter inputs must be at least 1, not 0"),
    (1.5, TypeError, "arbiter inputs must be a positive integer, not 1.5"),
])
def test_arbiter_refuses(inputs, error, text):
    with pytest.raises(error, match=text):
        Arbiter(8, inputs)
    gc.collect()
