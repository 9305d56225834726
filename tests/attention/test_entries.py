"""Entries of a job's table."""

from dataclasses import replace

import pytest
from olivine.attention.entries import EntryCheck

from tests.attention.configs import CONFIGS, TINY, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_entries(config):
    run(EntryCheck(config), "tb.attention.entries", parameters=given(config), expected=4)


def test_no_batch_where_a_word_is_not_a_beat():
    config = replace(TINY, name="slim", rows=4)
    run(EntryCheck(config), "tb.attention.entries", parameters=given(config), expected=4)
