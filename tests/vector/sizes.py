"""Configurations that the vector unit is tested at."""

from dataclasses import replace

from olivine.config import PRESETS

__all__ = ["NARROW", "WIDE", "PARTS", "HALVES"]

NARROW = PRESETS["tiny"]
"""2 rows."""

WIDE = replace(NARROW, name="wide", rows=8, lanes=16, bus_bits=128, tile_bytes=0)

PARTS = replace(NARROW, name="parts", rows=4, lanes=16, bus_bits=64, vector_cycles=4, tile_bytes=0)
"""Parts of one row."""

HALVES = replace(WIDE, name="halves", vector_cycles=4)
"""Parts of two rows."""
