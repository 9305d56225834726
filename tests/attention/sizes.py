"""Configurations that the softmax datapath's units are tested at."""

from dataclasses import replace

import pytest
from olivine.config import PRESETS

__all__ = ["TINY", "SQUARE", "ODD", "EDGE", "SERIAL", "SIZES", "names", "each_size"]

TINY, EDGE = PRESETS["tiny"], PRESETS["edge"]

SQUARE = replace(TINY, name="square", rows=8, contexts=1, max_head_dim=256, tile_bytes=0)
"""As many rows as keys in a page, one context, the largest dot products."""

ODD = replace(TINY, name="odd", rows=4, lanes=16, contexts=3, max_head_dim=24, tile_bytes=0)
"""Contexts that are no power of two."""

SERIAL = replace(ODD, name="serial", vector_cycles=4)
"""One row a cycle where it is not the array."""

SIZES = (TINY, SQUARE, ODD, EDGE)

names = [config.name for config in SIZES]


def each_size(*others):
    """What `pytest.mark.parametrize` takes: the first of `SIZES` and ``others``, the rest if slow tests run."""
    return [pytest.param(config, id=config.name, marks=[pytest.mark.slow] if config in SIZES[1:] else [])
            for config in (*SIZES, *others)]
