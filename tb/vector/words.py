"""What the testbenches of the vector unit's parts share.

Parameters: OLIVINE_CONFIG, and OLIVINE_COUNT: how many words.
"""

import json
import os

import numpy as np
from olivine.config import AcceleratorConfig

__all__ = ["CONFIG", "LANES", "COUNT", "shape_of", "signed_values", "places", "factors", "counted"]

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))
LANES = CONFIG.vector_lanes
COUNT = int(os.environ["OLIVINE_COUNT"])


def shape_of(component, name):
    """Shape of a member of a component's signature."""
    return component.signature.members[name].shape


def signed_values(rng, bits, shape):
    """Integers of all sizes, the limits and a few small ones among them."""
    low, high = -1 << bits - 1, (1 << bits - 1) - 1
    values = rng.integers(low, high + 1, shape) >> rng.integers(0, bits, shape)
    return np.where(rng.random(shape) < .1, rng.choice([low, low + 1, -1, 0, 1, high - 1, high], shape), values)


def places(rng, count):
    """Places of a group of words' parts."""
    return [{"valid": 1, "last": int(index == count - 1 or rng.random() < .05),
             "counted": int(rng.integers(0, 1 << LANES))} for index in range(count)]


def factors(rng):
    """A multiplier and a shift: the limits and any, and such that what comes out is neither 0 nor saturates always."""
    shift = rng.choice([0, 1, 42, 43, 48, 63]) if rng.random() < .1 else rng.integers(4, 34)
    return int(rng.choice([0, 1, 0xFFFF, *rng.integers(0, 1 << 16, 5)])), int(shift)


def counted(flags, place):
    """Set flags [lanes] of counted rows."""
    return sum(int(flag) for lane, flag in enumerate(flags) if place["counted"] >> lane & 1)
