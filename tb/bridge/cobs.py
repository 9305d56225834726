"""COBS, both ways, against the host's.

Parameter: OLIVINE_UNIT ("decoder" or "encoder").
"""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.bridge.cobs import BYTE, EVENT
from olivine_host.board.frame import BadFrame, stuffed, unstuffed

from tb.streams import StreamChecker, StreamSink, StreamSource, pack, start, unpack, valid_without_ready

UNIT = os.environ["OLIVINE_UNIT"]


def frames(rng):
    """Frames whose blocks end everywhere around the largest."""
    yield from (b"\0", b"\1", b"\0\0", b"a\0", b"\0a", b"ab\0c")
    for size in (252, 253, 254, 255, 256, 507, 508, 509):
        full = bytes(rng.randint(1, 255) for _ in range(size))
        yield from (full, full + b"\0", b"\0" + full, full + b"\0b")
    for _ in range(12):
        yield bytes(rng.choice((0, rng.getrandbits(8))) for _ in range(rng.randint(1, 60)))


async def decodes(dut, pattern):
    """Right frames, and cut and garbled ones."""
    rng = random.Random(pattern)
    source = StreamSource(dut, "i", pattern)
    StreamChecker(dut, "i")
    dut.spoil.value = 0
    await start(dut)
    found, held = [], bytearray()

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            assert dut.rst.value or int(dut.i__ready.value)
            event = unpack(EVENT, int(dut.o.value))
            if event["valid"] and event["end"]:
                found.append(None if event["bad"] else bytes(held))
                held.clear()
            elif event["valid"]:
                held.append(event["data"])
    cocotb.start_soon(watch())
    expected = []
    for raw in frames(rng):
        coded = bytearray(stuffed(raw))
        assert 0 not in coded and unstuffed(coded) == raw
        if rng.random() < 0.3:
            del coded[rng.randrange(len(coded)):]
        elif rng.random() < 0.3:
            coded[rng.randrange(len(coded))] = rng.randint(1, 255)
        source.push(coded + bytes(rng.randint(1, 3)))
        try:
            expected += [unstuffed(coded)] if coded else []
        except BadFrame:
            expected.append(None)
    await source.drained()
    for _ in range(3):
        await RisingEdge(dut.clk)
    assert found == expected and None in expected


async def spoils(dut):
    """Wherever a byte was lost, that frame is bad, and only that; in the cycle of a transfer it is the one behind."""
    source = StreamSource(dut, "i")
    dut.spoil.value = 0
    await start(dut)
    ends = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            event = unpack(EVENT, int(dut.o.value))
            if event["valid"] and event["end"]:
                ends.append(event["bad"])
    cocotb.start_soon(watch())
    for before in range(5):
        content = b"\3ab\0"
        for place in range(len(content) + 1):
            if place == before:
                dut.spoil.value = 1
                await RisingEdge(dut.clk)
                dut.spoil.value = 0
                await RisingEdge(dut.clk)
            if place < len(content):
                source.push(content[place])
                await source.drained()
                for _ in range(2):
                    await RisingEdge(dut.clk)
        source.push(b"\3cd\0")
        await source.drained()
    for _ in range(3):
        await RisingEdge(dut.clk)
    assert ends == [1, 0, 1, 0, 1, 0, 1, 0, 0, 1]
    # With the transfer of the first frame's delimiter.
    ends.clear()
    source.push(b"\2a\0\2b\0\2c\0")
    while not (int(dut.i__valid.value) and int(dut.i__payload.value) == ord("a")):
        await RisingEdge(dut.clk)
    dut.spoil.value = 1
    await RisingEdge(dut.clk)
    dut.spoil.value = 0
    await source.drained()
    for _ in range(4):
        await RisingEdge(dut.clk)
    assert ends == [0, 1, 0]


async def encodes(dut, pair):
    rng = random.Random(f"{pair}")
    source, sink = StreamSource(dut, "i", pair[0], 1), StreamSink(dut, "o", pair[1], 2)
    StreamChecker(dut, "i"), StreamChecker(dut, "o")
    await start(dut)
    expected = bytearray()
    for raw in frames(rng):
        source.push(pack(BYTE, {"data": byte, "last": place == len(raw) - 1}) for place, byte in enumerate(raw))
        expected += stuffed(raw) + b"\0"
    assert bytes(await sink.collect(len(expected), timeout=16 * len(expected))) == expected
    if pair == ("always", "always"):
        steps = [later - sooner for sooner, later in zip(sink.cycles, sink.cycles[1:])]
        assert min(steps) >= 1 and sum(steps) < 2.6 * len(steps)
    for _ in range(20):
        await RisingEdge(dut.clk)
    assert len(sink.received) == len(expected)


async def offers(dut):
    source = StreamSource(dut, "i")
    await start(dut)
    source.push(pack(BYTE, {"data": 7, "last": 1}))
    await valid_without_ready(dut, "o")


def _add(function, name, **options):
    async def body(dut):
        await function(dut, **options)
    body.__name__ = body.__qualname__ = name
    globals()[name] = cocotb.test(timeout_time=5, timeout_unit="ms")(body)


if UNIT == "decoder":
    for _pattern in ("always", "bursty"):
        _add(decodes, f"decodes_{_pattern}", pattern=_pattern)
    _add(spoils, "spoils_frames")
else:
    for _pair in (("always", "always"), ("half", "bursty"), ("bursty", "half")):
        _add(encodes, f"encodes_{'_'.join(_pair)}", pair=_pair)
    _add(offers, "offers_first")
