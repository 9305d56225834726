"""Row operands on their way to the scratchpad."""

import pytest
from olivine.linear.rows import RowAddresses, RowLoader

from tests.linear.configs import CONFIGS, SMALL, TINY, WIDE, given, names
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_addresses(config):
    run(RowAddresses(config), "tb.linear.rows", parameters=given(config, unit="addresses"), expected=34)


@pytest.mark.parametrize("config", [TINY, SMALL, WIDE], ids=["tiny", "small", "wide"])
def test_loader(config):
    run(RowLoader(config), "tb.linear.rows", parameters=given(config, unit="loader"), expected=20)


@pytest.mark.parametrize(("depth", "longest"), [(2 * TINY.state_words, TINY.max_head_dim),
                                                pytest.param(500, 200, marks=pytest.mark.slow)])
def test_loader_of_another_size(depth, longest):
    """As attention's queries use it: another scratchpad, and blocks longer than a run."""
    component = RowLoader(TINY, depth, longest)
    assert (component.depth, component.longest) == (depth, longest)
    run(component, "tb.linear.rows", parameters=given(TINY, unit="store", depth=depth, longest=longest), expected=9)
