"""Masks of token trees, by place."""

import pytest
from olivine.attention.trees import TreeMasks

from tests.attention.configs import CONFIGS, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_trees(config):
    run(TreeMasks(config), "tb.attention.trees", parameters=given(config), expected=8)
