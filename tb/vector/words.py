"""Words through a pipeline of the vector unit: each must leave, right, in its cycle.

Parameters: OLIVINE_CONFIG, OLIVINE_LATENCY, and OLIVINE_COUNT: how many words.
"""

import json
import os

import numpy as np
from cocotb.triggers import RisingEdge
from olivine.config import AcceleratorConfig

from tb.numerics.pipeline import latency
from tb.streams import pack, unpack

__all__ = ["CONFIG", "ROWS", "COUNT", "shape_of", "signed_values", "places", "factors", "stream", "counted"]

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))
ROWS = CONFIG.rows
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
    """Places of a group of words."""
    return [{"valid": 1, "last": int(index == count - 1 or rng.random() < .05), "rows": int(rng.integers(1, ROWS + 1))}
            for index in range(count)]


def factors(rng, count=None):
    """Multipliers and shifts: the limits and any, and such that what comes out is neither 0 nor saturates always."""
    mult = rng.choice([0, 1, 0xFFFF, *rng.integers(0, 1 << 16, 5)], count)
    shift = np.where(rng.random(count) < .1, rng.choice([0, 1, 63], count), rng.integers(4, 34, count))
    return (int(mult), int(shift)) if count is None else (mult, shift)


async def stream(dut, component, words, expected, gaps, rng, outputs=("saturated",), extra=None):
    """Send ``words``, with gaps or not, and compare with ``expected``, and the tallies beside.

    Parameters
    ----------
    component : wiring.Component
        Of the same parameters as the design.
    words : list of dict
        For ``i``, each with its place.
    expected : list of (dict, tuple of int)
        What leaves at ``o`` but for its place, and the values of ``outputs``.
    extra : dict of str to list of int
        Other inputs, by the word.
    """
    shape_in, shape_out = shape_of(component, "i"), shape_of(component, "o")
    valid = pack(shape_in, {"place": {"valid": 1}})
    arrive, at = {}, 0
    for index in range(len(words)):
        arrive[at] = index
        at += 1 + (int(rng.integers(0, 4)) if gaps and rng.random() < .3 else 0)
    for cycle in range(at + latency() + 2):
        index = arrive.get(cycle)
        garbage = int.from_bytes(rng.bytes(shape_in.size // 8 + 1), "little") % (1 << shape_in.size)
        dut.i.value = garbage & ~valid if index is None else pack(shape_in, words[index])
        for name, values in (extra or {}).items():
            getattr(dut, name).value = values[0 if index is None else index]
        await RisingEdge(dut.clk)
        got = unpack(shape_out, int(dut.o.value))
        # Driven in one step, it is taken at the next edge.
        left = arrive.get(cycle - latency())
        assert got["place"]["valid"] == (left is not None), cycle
        tallies = tuple(int(getattr(dut, name).value) for name in outputs)
        if left is None:
            assert not any(tallies), (cycle, tallies)
            continue
        want, wanted_tallies = expected[left]
        assert got == {"place": words[left]["place"], **want}, (left, words[left], got, want)
        assert tallies == wanted_tallies, (left, words[left], tallies, wanted_tallies)


def counted(flags, places):
    """Set flags [P, words] of existing rows, by the word."""
    return [int(flags[:place["rows"], index].sum()) for index, place in enumerate(places)]
