"""Testbench of `olivine.stream.Arbiter`. Parameters: OLIVINE_INPUTS; the payload has 8 bits."""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.stream import Arbiter, granted

from tb.streams import PAIRS, StreamChecker, StreamSink, StreamSource, start, unpack, valid_without_ready

INPUTS = int(os.environ["OLIVINE_INPUTS"])
OUTPUT = granted(8, INPUTS)


async def begin(dut, patterns, sink="always"):
    sources = [StreamSource(dut, f"i__{n}", pattern, seed=n) for n, pattern in enumerate(patterns)]
    sink = StreamSink(dut, "o", sink, seed=99)
    for n in range(INPUTS):
        StreamChecker(dut, f"i__{n}")
    StreamChecker(dut, "o")
    await start(dut)
    return sources, sink


def grants(received):
    return [(word["source"], word["payload"]) for word in (unpack(OUTPUT, bits) for bits in received)]


@cocotb.test()
@cocotb.parametrize(pair=PAIRS)
async def every_input_in_its_own_order(dut, pair):
    sources, sink = await begin(dut, [pair[0]] * INPUTS, pair[1])
    rng = random.Random(f"arbiter {pair}")
    values = [[rng.getrandbits(8) for _ in range(rng.randint(0, 60))] for _ in sources]
    for source, sent in zip(sources, values):
        source.push(sent)
    total = sum(map(len, values))
    got = grants(await sink.collect(total))
    for n, sent in enumerate(values):
        assert [payload for source, payload in got if source == n] == sent
    for _ in range(30):
        await RisingEdge(dut.clk)
    assert len(sink.received) == total


@cocotb.test()
async def takes_turns(dut):
    """While all offer, each is served once a round, one a cycle."""
    sources, sink = await begin(dut, ["always"] * INPUTS)
    for source in sources:
        source.push(range(40))
    got = grants(await sink.collect(40 * INPUTS))
    assert got == [(n, index) for index in range(40) for n in range(INPUTS)]
    assert sink.cycles[0] - sources[0].cycles[0] == Arbiter.latency
    assert sink.cycles[-1] - sink.cycles[0] == 40 * INPUTS - 1


@cocotb.test()
async def waits_for_one_of_each_other(dut):
    """An input that comes late waits for at most one payload of every other."""
    patterns = ["always"] * (INPUTS - 1) + ["rare"]
    sources, sink = await begin(dut, patterns, "half")
    sources[-1].push(range(50))
    for source in sources[:-1]:
        source.push([7] * 2000)
    offered, served = None, 0
    others = [getattr(dut, f"i__{n}__valid") for n in range(INPUTS - 1)]
    for _ in range(3000):
        await RisingEdge(dut.clk)
        if getattr(dut, f"i__{INPUTS - 1}__valid").value != 1:
            continue
        taken = len(sink.received) if offered is None else offered
        offered = taken
        if getattr(dut, f"i__{INPUTS - 1}__ready").value == 1:
            # One payload may already lie in the output register.
            assert len(sink.received) - offered <= len(others) + 1
            offered, served = None, served + 1
        if served == 50:
            return
    raise AssertionError(f"the late input was served {served} times")


@cocotb.test()
async def one_input_alone_has_the_full_rate(dut):
    sources, sink = await begin(dut, ["always"] * INPUTS)
    for n, source in enumerate(sources):
        source.push(range(30))
        got = await sink.collect(30)
        assert grants(got) == [(n, index) for index in range(30)]
        assert sink.cycles[-1] - sink.cycles[-30] == 29


@cocotb.test()
async def offers_without_being_asked(dut):
    sources = [StreamSource(dut, f"i__{n}") for n in range(INPUTS)]
    await start(dut)
    sources[-1].push(3)
    await valid_without_ready(dut, "o", timeout=5)
    for _ in range(5):
        await RisingEdge(dut.clk)
        assert unpack(OUTPUT, int(dut.o__payload.value)) == {"payload": 3, "source": INPUTS - 1}
        sources[0].push(4)  # Who comes later does not displace what is offered.
