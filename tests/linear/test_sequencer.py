"""The order of steps, and what keeps them waiting."""

import pytest
from olivine.linear.sequencer import Sequencer

from tests.linear.configs import CONFIGS, given, names
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_sequencer(config):
    run(Sequencer(config), "tb.linear.sequencer", parameters=given(config), expected=17)
