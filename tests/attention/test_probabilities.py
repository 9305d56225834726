"""Probabilities between the softmax and the array."""

import pytest
from olivine.attention.datapath import ProbabilityStore

from tests.attention.configs import CONFIGS, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_store(config):
    run(ProbabilityStore(config), "tb.attention.probabilities", parameters=given(config), expected=5)
