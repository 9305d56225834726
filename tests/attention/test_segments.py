"""Segments of a cached group: checked, and turned into pages."""

import pytest
from olivine.attention.segments import SegmentWalk

from tests.attention.configs import CONFIGS, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_segments(config):
    run(SegmentWalk(config), "tb.attention.segments", parameters=given(config), expected=16)
