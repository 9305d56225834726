"""What the testbenches of the softmax datapath's units share.

Parameters: OLIVINE_CONFIG, the configuration's fields in JSON; OLIVINE_LATENCY.
"""

import json
import os

import numpy as np
from olivine.attention.layout import CHUNKS
from olivine.config import AcceleratorConfig

from tb.streams import pack

__all__ = ["CONFIG", "ROWS", "LANES", "shape_of", "drive", "scores", "chance", "noise", "banks"]

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))
ROWS, LANES = CONFIG.rows, CONFIG.lanes


def shape_of(unit, name):
    """Shape of a port of a component class at this configuration."""
    return unit(CONFIG).signature.members[name].shape


def drive(dut, name, value):
    """Set a port; one of no bits does not exist."""
    if hasattr(dut, name):
        getattr(dut, name).value = value


def chance(rng, probability):
    return bool(rng.random() < probability)


def noise(rng, layout):
    """Bits of a struct whose first member, ``valid``, is 0, and the others anything."""
    return int.from_bytes(rng.bytes(layout.size // 8 + 1), "little") & (1 << layout.size) - 2


def scores(rng):
    """P scores of 16 bits: of any size, close to one another, around whole octaves, extreme."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return rng.integers(-1 << 15, 1 << 15, ROWS)
    if kind == 1:
        return rng.integers(-600, 600, ROWS)
    if kind == 2:
        return np.clip(256 * rng.integers(-128, 129, ROWS) + rng.integers(-1, 2, ROWS), -1 << 15, (1 << 15) - 1)
    return rng.choice([-1 << 15, (1 << 15) - 1, (1 << 15) - 256, 0, -1], ROWS)


def banks(layout, values):
    """Bits of a port with the parameters of each bank."""
    assert len(values) == CHUNKS
    return pack(layout, values)
