"""Bus monitor: against a count of what is outstanding, cycle by cycle, one cycle later."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from tb.streams import start

CHANNELS = ("ar", "r", "aw", "w", "b")


class Bench:
    """Drives the handshakes of one cycle at a time and checks what the monitor makes of them."""

    def __init__(self, dut):
        self.dut = dut
        self.lengths = []   # of the reads that are outstanding, in beats
        self.writes = 0
        self.expected = None    # what is told in the next cycle
        self.drive({})

    def drive(self, active):
        for channel in CHANNELS:
            valid, ready = active.get(channel, (0, 0))
            getattr(self.dut, f"{channel}_valid").value = valid
            getattr(self.dut, f"{channel}_ready").value = ready
        self.dut.r_last.value = int(self.lengths[:1] == [1])

    async def cycle(self, active, length=0):
        """``active``: (valid, ready) by channel."""
        self.drive(active)
        await RisingEdge(self.dut.clk)
        moved = {channel: active.get(channel) == (1, 1) for channel in CHANNELS}
        offered = any(active.get(channel, (0, 0))[0] for channel in ("ar", "aw", "w"))
        expected = {"waiting": offered or bool(self.lengths) or self.writes > 0, "progress": any(moved.values()),
                    "read_beat": moved["r"], "write_beat": moved["w"]}
        got = {name: bool(getattr(self.dut, name).value) for name in expected}
        assert self.expected in (None, got), (active, self.lengths, self.writes, got, self.expected)
        self.expected = expected
        if moved["r"]:
            self.lengths[0] -= 1
            if not self.lengths[0]:
                self.lengths.pop(0)
        if moved["ar"]:
            self.lengths.append(length + 1)
        self.writes += moved["aw"] - moved["b"]


@cocotb.test()
async def any_traffic(dut):
    """Handshakes at random, of which the answers never exceed what is owed."""
    rng, bench = random.Random(1), Bench(dut)
    await start(dut)
    idle = 0
    for cycle in range(6000):
        # Hardly any traffic, much of it, and time for the answers.
        busy = (0.05, 0.6, 0)[cycle // 200 % 3]
        active = {channel: (int(rng.random() < busy), int(rng.random() < 0.6))
                  for channel in ("ar", "aw", "w")}
        active["r"] = (int(bool(bench.lengths) and rng.random() < 0.97), int(rng.random() < 0.97))
        active["b"] = (int(bench.writes > 0 and rng.random() < 0.9), int(rng.random() < 0.9))
        if sum(bench.lengths) > 100:
            active["ar"] = (0, 1)
        if bench.writes > 100:
            active["aw"] = (0, 1)
        idle += not (bench.lengths or bench.writes) and cycle > 600
        await bench.cycle(active, rng.choice((0, 0, 1, 7, rng.randrange(64))) if busy > 0.5 else 0)
    assert idle > 500, "the bus was never quiet after much traffic"


@cocotb.test()
async def each_handshake_alone(dut):
    """Valid alone waits where the engine is who offers; ready alone means nothing; both are progress."""
    bench = Bench(dut)
    await start(dut)
    for channel in CHANNELS:
        await bench.cycle({channel: (0, 1)})
        await bench.cycle({channel: (1, 0)})
        await bench.cycle({})
    # One that answers nothing: RLAST is not looked at where R does not move.
    dut.r_last.value = 1
    await RisingEdge(dut.clk)
    bench.expected = None
    await bench.cycle({})
    await bench.cycle({"ar": (1, 1)}, length=2)
    await bench.cycle({"aw": (1, 1)})
    for channel in ("r", "b", "r", "r"):
        await bench.cycle({channel: (1, 1)})
        await bench.cycle({})
    assert not bench.lengths and not bench.writes


@cocotb.test()
@cocotb.parametrize(channels=[("ar", "r"), ("aw", "b")])
async def many_bursts_outstanding(dut, channels):
    """1,023 bursts are counted: waited for at every count."""
    bench = Bench(dut)
    await start(dut)
    begins, ends = channels
    for _ in range(1_023):
        await bench.cycle({begins: (1, 1)})
    # One more begins and one ends at once: that is none more.
    await bench.cycle({begins: (1, 1), ends: (1, 1)})
    for _ in range(1_023):
        await bench.cycle({})
        await bench.cycle({ends: (1, 1)})
    await bench.cycle({})
    await bench.cycle({})
    assert dut.waiting.value == 0
