"""Configurations that the control units of attention are tested at."""

from dataclasses import replace

from olivine.config import PRESETS

__all__ = ["TINY", "WIDE", "NARROW", "SERIAL", "CONFIGS", "names"]

TINY = PRESETS["tiny"]

WIDE = replace(TINY, name="wide", rows=4, lanes=16, bus_bits=64, contexts=3, max_head_dim=40,
               max_sequence=32_768, addr_width=48, tile_bytes=0)
"""Contexts that are no power of two, passes of 16, 16 and 8 dims, one element of 8 bytes a beat, many pages, and the
widest addresses."""

NARROW = replace(TINY, name="narrow", lanes=16, contexts=2, max_head_dim=24, tile_bytes=0)
"""Four beats in a word: half a word is more than one."""

SERIAL = replace(WIDE, name="serial", vector_cycles=4)
"""One row a cycle where it is not the array."""

CONFIGS = (TINY, WIDE)

names = [config.name for config in CONFIGS]
