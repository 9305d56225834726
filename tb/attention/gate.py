"""Commands of several streams through one guard. Parameter: OLIVINE_STREAMS."""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.control.job import Window, command, span

from tb.streams import PAIRS, StreamChecker, StreamSink, StreamSource, pack, start, unpack

STREAMS = int(os.environ["OLIVINE_STREAMS"])
ADDRESS, WINDOWS = 33, 3
COMMAND, SPAN, WINDOW = command(ADDRESS), span(ADDRESS - 1), Window(ADDRESS - 1)
OPEN = [(0x1000, 0x1fff), (0x8000, 0xffff)]

test = cocotb.test(timeout_time=1, timeout_unit="ms")


def legal(rng):
    first, last = rng.choice(OPEN)
    addr = rng.randint(first, last)
    return pack(COMMAND, {"addr": addr, "bytes": rng.randint(1, last - addr + 1)})


def checked(commands):
    """What leaves for commands that may go."""
    asked = [unpack(COMMAND, bits) for bits in commands]
    return [pack(SPAN, {"addr": one["addr"], "last": one["addr"] + one["bytes"] - 1}) for one in asked]


async def begin(dut, patterns, ready):
    windows = [pack(WINDOW, {"first": first, "last": last, "readable": 1}) for first, last in OPEN]
    windows.append(pack(WINDOW, {"first": 0, "last": (1 << ADDRESS - 1) - 1, "writable": 1}))
    dut.windows.value = sum(bits << index * WINDOW.size for index, bits in enumerate(windows))
    sources = [StreamSource(dut, f"i__{index}", patterns, seed=index) for index in range(STREAMS)]
    sinks = [pattern and StreamSink(dut, f"o__{index}", pattern, seed=9 + index) for index, pattern in enumerate(ready)]
    for index in range(STREAMS):
        StreamChecker(dut, f"o__{index}")
    await start(dut)
    return sources, sinks


async def quiet(dut):
    """Long enough for all that is on its way."""
    for _ in range(60):
        await RisingEdge(dut.clk)


@test
@cocotb.parametrize(pair=PAIRS[::4])
async def each_to_its_own(dut, pair):
    rng = random.Random(f"gate {pair}")
    sources, sinks = await begin(dut, pair[0], [pair[1]] * STREAMS)
    sent = [[legal(rng) for _ in range(40)] for _ in range(STREAMS)]
    for source, commands in zip(sources, sent):
        source.push(commands)
    for sink, commands in zip(sinks, sent):
        assert await sink.collect(len(commands)) == checked(commands)
    await quiet(dut)
    assert int(dut.held.value) == 0 and int(dut.fault.value) & 1 == 0


@test
async def nobody_waits_for_a_target(dut):
    """The first target takes nothing: its command stays outside, and those of the others pass."""
    rng = random.Random("waits")
    dut.o__0__ready.value = 0
    sources, sinks = await begin(dut, "always", [None, *["always"] * (STREAMS - 1)])
    sent = [legal(rng) for _ in range(30)]
    for source in sources:
        source.push(sent)
    for sink in sinks[1:]:
        assert await sink.collect(len(sent)) == checked(sent)
    await quiet(dut)
    assert int(dut.held.value) == 0


@test
async def refuses(dut):
    """The first that is outside stops all, its address is told, and what was before it has passed."""
    rng = random.Random("refuses")
    sources, sinks = await begin(dut, "always", ["always"] * STREAMS)
    bad = {"addr": rng.choice((0x2000, 1 << ADDRESS - 1, (1 << ADDRESS) - 1)), "bytes": 1}
    before = [legal(rng) for _ in range(5)]
    sources[1].push([*before, pack(COMMAND, bad), legal(rng)])
    await quiet(dut)
    assert sinks[1].received == checked(before)
    fault = int(dut.fault.value)
    assert fault & 1 and fault >> 1 == bad["addr"]
    sources[0].push([legal(rng)])
    await quiet(dut)
    assert not sinks[0].received and int(dut.held.value) == 2
