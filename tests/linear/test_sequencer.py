"""The order of steps, and what keeps them waiting."""

import pytest
from olivine.linear.sequencer import Sequencer

from tests.linear.configs import CONFIGS, SHARED, given
from tests.simulate import run


@pytest.mark.parametrize("config", (*CONFIGS, *SHARED), ids=lambda config: config.name)
def test_sequencer(config):
    run(Sequencer(config), "tb.linear.sequencer", parameters=given(config), expected=17)
