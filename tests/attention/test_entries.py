"""Entries of a job's table."""

import pytest
from olivine.attention.entries import EntryCheck

from tests.attention.configs import CONFIGS, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_entries(config):
    run(EntryCheck(config), "tb.attention.entries", parameters=given(config), expected=4)
