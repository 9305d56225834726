"""The serial encoder: groups of pairs, first elements before second ones, with pauses."""

import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.olive.encoder import SerialPairEncoder
from olivine.olive.formats import LaneFormat
from olivine_golden.ovp import encode_pairs

from tb.streams import pack, start, unpack

PAIRS = int(os.environ["OLIVINE_PAIRS"])
ENCODER = SerialPairEncoder(PAIRS)
I, O = (ENCODER.signature.members[name].shape for name in "io")   # noqa: E741


async def _check(dut, groups):
    """``groups`` of (format, values [2, n]), n at most `PAIRS`."""
    rng = np.random.default_rng(4)
    dut.i_valid.value = 0
    await start(dut)
    expected = []       # by cycle from now on: what must come, or None
    for fmt, values in groups:
        codes, saturated = encode_pairs(values[0], values[1], fmt)
        count = values.shape[1]
        # The bytes of int8 come one by one.
        whole = np.stack([codes & 255, codes >> 8]) if fmt is LaneFormat.INT8 else codes
        single = [encode_pairs(values[second], np.zeros(count, int), fmt)[1] for second in range(2)]
        for second in range(2):
            for pair in range(count):
                while rng.random() < .2:
                    dut.i_valid.value = 0
                    dut.i.value = int(rng.integers(0, 1 << I.size))
                    expected.append(None)
                    await _cycle(dut, expected)
                dut.i_valid.value = 1
                dut.i.value = pack(I, {"value": int(values[second, pair]), "second": second, "pair": pair,
                                       "format": fmt})
                if fmt is LaneFormat.INT8:
                    expected.append((int(whole[second, pair]), int(single[second][pair])))
                else:
                    expected.append((int(whole[pair]), int(saturated[pair])) if second else None)
                await _cycle(dut, expected)
    for _ in range(ENCODER.latency):
        dut.i_valid.value = 0
        expected.append(None)
        await _cycle(dut, expected)


async def _cycle(dut, expected):
    await RisingEdge(dut.clk)
    if len(expected) > ENCODER.latency and expected[-ENCODER.latency - 1] is not None:
        found = unpack(O, int(dut.o.value))
        assert (found["code"], found["saturated"]) == expected[-ENCODER.latency - 1], (found, expected[-4])


@cocotb.test()
async def small_values(dut):
    """Around every decision point."""
    rng = np.random.default_rng(1)
    await _check(dut, [(fmt, rng.integers(-60, 61, (2, rng.integers(1, PAIRS + 1))))
                       for fmt in LaneFormat for _ in range(600)])


@cocotb.test()
async def any_values(dut):
    """Over the full range, formats in turn; outliers of equal magnitude, too."""
    rng = np.random.default_rng(2)
    groups = []
    for index in range(600):
        values = rng.integers(-(1 << 15), 1 << 15, (2, rng.integers(1, PAIRS + 1))) >> int(rng.integers(0, 12))
        if index % 3 == 0:
            values[1] = np.clip(-values[0] - index // 3 % 2, -(1 << 15), (1 << 15) - 1)
        groups.append((LaneFormat(int(rng.integers(0, 4))), values))
    await _check(dut, groups)
