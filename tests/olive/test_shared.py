"""One array for two engines."""

import pytest
from amaranth.hdl import unsigned
from olivine.config import PRESETS
from olivine.olive.shared import SharedArray

from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("simulator", ["icarus", pytest.param("verilator", marks=pytest.mark.slow)])
def test_two_engines(simulator):
    config = PRESETS["tiny"]
    run(SharedArray(config, [unsigned(5), unsigned(9)]), "tb.olive.shared", simulator=simulator, expected=1,
        parameters=given(config))
