"""Configurations that the linear engine's units are tested at: small, and no two alike."""

import json
from dataclasses import asdict, replace

from olivine.config import PRESETS, AcceleratorConfig

__all__ = ["TINY", "SMALL", "WIDE", "SINGLE", "SHARED", "CONFIGS", "given", "names"]

TINY = PRESETS["tiny"]

SMALL = AcceleratorConfig("small", rows=2, lanes=4, bus_bits=32, contexts=3, max_head_dim=8, max_sequence=16,
                          max_reduction=300, element="exponent", drain_columns=2)
"""A beat fills a word, a drain takes one or two cycles, the contexts are no power of two."""

WIDE = replace(PRESETS["tiny"], name="wide", rows=4, lanes=16, bus_bits=128, contexts=2, drain_columns=2,
               max_reduction=200, tile_bytes=0)
"""A beat holds several records, two of which leave at once."""

SINGLE = replace(PRESETS["tiny"], name="single", lanes=16, bus_bits=64, contexts=1, element="exponent",
                 max_reduction=150, tile_bytes=0, addr_width=48)
"""One context, and the widest addresses."""

SHARED = (replace(TINY, name="tiny_by_2", vector_cycles=2), replace(SMALL, name="small_by_2", vector_cycles=2),
          replace(WIDE, name="wide_by_2", vector_cycles=2),
          replace(WIDE, name="wide_by_4", drain_columns=1, vector_cycles=4))
"""Fewer lanes than rows where it is not the array."""

CONFIGS = (TINY, SMALL, WIDE, SINGLE)

names = [config.name for config in CONFIGS]


def given(config, **parameters):
    """Parameters of a testbench: the configuration, and others."""
    return {"config": json.dumps(asdict(config)), **parameters}
