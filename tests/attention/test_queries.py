"""Queries on their way to their store."""

import pytest
from olivine.attention.queries import QueryAddresses, QueryLoader

from tests.attention.configs import CONFIGS, names
from tests.linear.configs import given
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_addresses(config):
    run(QueryAddresses(config), "tb.attention.queries", parameters=given(config), expected=40)


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_loader(config):
    run(QueryLoader(config), "tb.attention.loader", parameters=given(config), expected=8)
