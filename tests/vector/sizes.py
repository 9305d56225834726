"""Configurations that the vector unit is tested at."""

from dataclasses import replace

from olivine.config import PRESETS

__all__ = ["NARROW", "WIDE", "SIZES", "names"]

NARROW = PRESETS["tiny"]
"""2 rows."""

WIDE = replace(NARROW, name="wide", rows=8, tile_bytes=0)

SIZES = (NARROW, WIDE)

names = [config.name for config in SIZES]
