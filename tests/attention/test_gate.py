"""Several streams of commands through one guard."""

import pytest
from olivine.attention.gate import CommandGate

from tests.attention.configs import TINY
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("streams", [2, 4])
def test_gate(streams):
    run(CommandGate(33, 3, False, 32, streams), "tb.attention.gate", parameters=given(TINY, streams=streams),
        expected=9)
