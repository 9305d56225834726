"""Testbench of `olivine.stream.Gearbox` and `SerialGearbox`, against a model of a few lines.

Parameters: OLIVINE_ELEMENT (bits), OLIVINE_INPUTS, OLIVINE_OUTPUTS, OLIVINE_SERIAL, OLIVINE_SKIPS (0, 1).
"""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.stream import Gearbox, word

from tb.streams import (
    PAIRS,
    StreamChecker,
    StreamSink,
    StreamSource,
    pack,
    start,
    unpack,
    valid_without_ready,
)

ELEMENT, INPUTS, OUTPUTS = (int(os.environ[f"OLIVINE_{name}"]) for name in ("ELEMENT", "INPUTS", "OUTPUTS"))
SERIAL, SKIPS = (os.environ[f"OLIVINE_{name}"] == "1" for name in ("SERIAL", "SKIPS"))
INPUT, OUTPUT = word(ELEMENT, INPUTS), word(ELEMENT, OUTPUTS)


def random_packet(rng, words, full):
    """The counts and the elements of a packet; all words full but the last, or any mixture."""
    counts = [INPUTS if full else rng.randint(1, INPUTS) for _ in range(words)]
    if rng.random() < 0.5:
        counts[-1] = rng.randint(1, INPUTS)
    return counts, [rng.getrandbits(ELEMENT) for _ in range(sum(counts))]


def feed(rng, counts, elements):
    """A packet as input payloads; what is not counted is junk."""
    elements = iter(elements)
    for index, count in enumerate(counts):
        data = [next(elements) for _ in range(count)]
        data += [rng.getrandbits(ELEMENT) for _ in range(INPUTS - count)]
        yield pack(INPUT, {"data": data, "count": count, "last": int(index == len(counts) - 1)})


def expect(elements, take):
    """A packet as output payloads."""
    for first in range(0, len(elements), take):
        part = elements[first:first + take]
        yield pack(OUTPUT, {"data": part + [0] * (OUTPUTS - len(part)), "count": len(part),
                            "last": int(first + take >= len(elements))})


def traffic(rng, take, packets, words=6):
    """Payloads to push, payloads to expect."""
    ins, outs = [], []
    for _ in range(packets):
        counts, elements = random_packet(rng, rng.randint(1, words), full=rng.random() < 0.5)
        ins += feed(rng, counts, elements)
        outs += expect(elements, take)
    return ins, outs


def assert_words(received, expected):
    assert len(received) == len(expected), f"{len(received)} words, not {len(expected)}"
    for index, (got, want) in enumerate(zip(received, expected)):
        assert got == want, f"word {index} is {unpack(OUTPUT, got)}, not {unpack(OUTPUT, want)}"


async def begin(dut):
    if SKIPS:
        dut.skip.value = 0
    await start(dut)


async def idle(dut, cycles):
    for _ in range(cycles):
        await RisingEdge(dut.clk)


@cocotb.test()
@cocotb.parametrize(pair=PAIRS)
async def cuts_packets(dut, pair):
    """Every take, or five of them, one after the other."""
    rng = random.Random(f"packets {pair}")
    dut.take.value = 1
    source, sink = StreamSource(dut, "i", pair[0], seed=1), StreamSink(dut, "o", pair[1], seed=2)
    StreamChecker(dut, "i"), StreamChecker(dut, "o")
    await begin(dut)
    takes = sorted({1, OUTPUTS, *rng.sample(range(1, OUTPUTS + 1), min(3, OUTPUTS))})
    for take in takes:
        dut.take.value = take
        ins, outs = traffic(rng, take, packets=7)
        source.push(ins)
        assert_words(await sink.collect(len(outs), timeout=40 * (len(ins) + len(outs))), outs)
    await idle(dut, 20)
    assert_words(sink.received[-1:], outs[-1:])
    assert source.cycles and dut.o__valid.value == 0


class FullSpeed:
    """A source and a sink that never pause, and the cycles in which words moved."""

    def __init__(self, dut):
        self.dut = dut
        dut.take.value = OUTPUTS
        self.source, self.sink = StreamSource(dut, "i"), StreamSink(dut, "o")

    async def run(self, take, packets):
        """Send packets, each given as its counts; the cycles of all transfers, from the first on."""
        rng = random.Random(f"{take} {packets}")
        self.dut.take.value = take
        ins, outs = [], []
        for counts in packets:
            elements = [rng.getrandbits(ELEMENT) for _ in range(sum(counts))]
            ins += feed(rng, counts, elements)
            outs += expect(elements, take)
        self.source.push(ins)
        assert_words(await self.sink.collect(len(outs), timeout=4 * (len(ins) + len(outs)) + 20), outs)
        moved_in, moved_out = self.source.cycles[-len(ins):], self.sink.cycles[-len(outs):]
        return [cycle - moved_in[0] for cycle in moved_in], [cycle - moved_in[0] for cycle in moved_out]


async def an_output_word_a_cycle(dut):
    """Packets of four full words, for every take: without a bubble, also where the packets meet."""
    bench = FullSpeed(dut)
    await begin(dut)
    for take in range(1, min(INPUTS, OUTPUTS) + 1):
        # Sixty-four packets where they are few words.
        _, outs = await bench.run(take, [[INPUTS] * 4] * (64 if 2 * take >= INPUTS else 12))
        assert outs == list(range(Gearbox.latency, Gearbox.latency + len(outs))), f"take {take}"
        dut._log.info(f"take {take}: {len(outs)} words in cycles {outs[0]} to {outs[-1]}")


async def an_input_word_a_cycle(dut):
    """Packets of several lengths, for every take of at least an input word."""
    bench = FullSpeed(dut)
    await begin(dut)
    for take in range(INPUTS, OUTPUTS + 1):
        shapes = [[INPUTS] * 3, [INPUTS], [1], [INPUTS, 1], [1, INPUTS, INPUTS]]
        if take == OUTPUTS:
            shapes.append([INPUTS] * 64)
        for counts in shapes:
            ins, outs = await bench.run(take, [counts] * 64)
            assert ins == list(range(64 * len(counts))), f"take {take}, packets of {counts}"
            # The last input word may complete one word and begin another.
            assert outs[-1] - ins[-1] in (Gearbox.latency, Gearbox.latency + 1)
            dut._log.info(f"take {take}: 64 packets of {len(counts)}: {len(ins)} words in cycles 0 to {ins[-1]}")


async def random_packets_at_full_speed(dut):
    """Where take is at least an input word, nothing that is sent can make the input wait."""
    rng = random.Random("full speed")
    bench = FullSpeed(dut)
    await begin(dut)
    for take in range(INPUTS, OUTPUTS + 1):
        packets = [random_packet(rng, rng.randint(1, 5), full=rng.random() < 0.5)[0] for _ in range(100)]
        ins, _ = await bench.run(take, packets)
        assert ins == list(range(len(ins))), f"take {take}"


async def two_elements_a_cycle(dut):
    """Packets of full words, for every take: without a bubble where all pairs stay together, and never more cycles
    than elements."""
    bench = FullSpeed(dut)
    await begin(dut)
    for take in range(1, OUTPUTS + 1):
        _, outs = await bench.run(take, [[INPUTS] * 3] * 8)
        elements = 24 * INPUTS
        if take % 2 == 0:
            assert outs[-1] == elements // 2 + 1, f"take {take}"
        else:
            assert elements // 2 < outs[-1] <= elements + 1, f"take {take}"


async def leaves_out_elements_in_front(dut):
    """Each ``skip``, in words that hold more."""
    rng = random.Random("skip")
    source, sink = StreamSource(dut, "i"), StreamSink(dut, "o")
    dut.take.value = OUTPUTS
    await begin(dut)
    for skip in range(INPUTS):
        dut.skip.value = skip
        for _ in range(8):
            counts = [rng.randint(skip + 1, INPUTS) for _ in range(rng.randint(1, 4))]
            elements = [rng.getrandbits(ELEMENT) for _ in range(sum(counts))]
            starts = [sum(counts[:index]) for index in range(len(counts))]
            left = [element for at, count in zip(starts, counts) for element in elements[at + skip:at + count]]
            outs = list(expect(left, OUTPUTS))
            source.push(feed(rng, counts, elements))
            assert_words(await sink.collect(len(outs), timeout=20 * INPUTS * len(counts)), outs)


if SKIPS:
    leaves_out_elements_in_front = cocotb.test()(leaves_out_elements_in_front)
if SERIAL:
    two_elements_a_cycle = cocotb.test()(two_elements_a_cycle)
else:
    an_output_word_a_cycle = cocotb.test()(an_output_word_a_cycle)
if INPUTS <= OUTPUTS and not SERIAL:
    an_input_word_a_cycle = cocotb.test()(an_input_word_a_cycle)
    random_packets_at_full_speed = cocotb.test()(random_packets_at_full_speed)


@cocotb.test()
async def offers_without_being_asked(dut):
    dut.take.value = OUTPUTS
    source = StreamSource(dut, "i")
    await begin(dut)
    source.push(feed(random.Random(0), [1], [0]))
    await valid_without_ready(dut, "o", timeout=Gearbox.latency + 4)

