"""The cache's controller: gateware against golden."""

from dataclasses import replace

import pytest
from olivine.config import PRESETS
from olivine.kvcache.controller import CacheController

from tests.linear.configs import given
from tests.simulate import run

SMALL = replace(PRESETS["tiny"], name="small", sequences=4, blocks=12, max_sequence=64)
"""Eight entries of a table, more than there are blocks for all."""

ODD = replace(PRESETS["tiny"], name="odd", lanes=4, sequences=3, blocks=21, max_sequence=61, tile_bytes=0)
"""Nothing is a power of two; a last entry that is never full."""


def random_operations(config, operations, simulator="verilator", **parameters):
    run(CacheController(config), "tb.kvcache.controller", simulator=simulator, expected=1,
        parameters=given(config, operations=operations, **parameters))


def test_random_operations():
    random_operations(SMALL, 4_000)


@pytest.mark.slow
def test_fewer_blocks_than_there_is_room_for():
    random_operations(ODD, 1_000, blocks=18)


def test_on_icarus():
    random_operations(ODD, 150, simulator="icarus")


def test_case_by_case():
    run(CacheController(SMALL), "tb.kvcache.controller_directed", simulator="verilator", expected=11,
        parameters=given(SMALL))


@pytest.mark.slow
def test_many_random_operations():
    random_operations(SMALL, 100_000, every=200)


@pytest.mark.slow
def test_many_random_operations_of_another_size():
    random_operations(ODD, 20_000, blocks=18)
