"""Checks a fixed-latency pipeline: one input a cycle, each result exactly ``latency`` cycles later."""

import itertools
import os
import random

from cocotb.triggers import RisingEdge

from tb.streams import PATTERNS, start

__all__ = ["latency", "check"]


def latency():
    """The latency that the component under test states."""
    return int(os.environ["OLIVINE_LATENCY"])


async def check(dut, cases, inputs, outputs, pattern="always", seed=0):
    """Push ``cases`` through and compare every result with its expectation, exactly.

    Parameters
    ----------
    cases : list of (tuple of int, tuple of int)
        What the inputs are and what the outputs must be, as the ports' bits.
    inputs, outputs : list of str
        Names of the ports.
    pattern : str
        When ``en`` is high. While it is low the inputs hold garbage, which must go nowhere.
    """
    stages, moves = latency(), PATTERNS[pattern](seed)
    ports_in, ports_out = [getattr(dut, name) for name in inputs], [getattr(dut, name) for name in outputs]
    enable = getattr(dut, "en", None)
    assert enable is not None or pattern == "always", "a pipeline without enable cannot pause"
    junk = random.Random(seed)
    for port in ports_in:
        port.value = 0
    if enable is not None:
        enable.value = 0
    if hasattr(dut, "clk"):
        await start(dut)
    edge = RisingEdge(dut.clk)

    # Inputs move on at an edge with en high, so results are looked at just before the next such edge.
    moved = 0
    feed = itertools.chain(cases, itertools.repeat(None))
    while moved < len(cases) + stages:
        moving = next(moves)
        case = next(feed) if moving else None
        values = case[0] if case else [junk.getrandbits(len(port)) for port in ports_in]
        for port, value in zip(ports_in, values, strict=True):
            port.value = value
        if enable is not None:
            enable.value = int(moving)
        await edge
        if moved >= stages:
            given, expected = cases[moved - stages]
            got = tuple(int(port.value) for port in ports_out)
            assert got == tuple(expected), (
                f"case {moved - stages}, {dict(zip(inputs, map(hex, given)))}: got "
                f"{dict(zip(outputs, map(hex, got)))}, expected {dict(zip(outputs, map(hex, expected)))}")
        moved += moving
