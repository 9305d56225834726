"""The order of attention's steps, and what keeps them waiting."""

import pytest
from olivine.attention.sequencer import Sequencer

from tests.attention.configs import CONFIGS, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_sequencer(config):
    run(Sequencer(config), "tb.attention.sequencer", parameters=given(config), expected=30)
