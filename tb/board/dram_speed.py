"""How much of the peak arrives, by the order of the addresses."""

import json
import os
import random
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time

from tb.board.dram import DRAM_PS, Setup
from tb.streams import pack

BYTES = 8
REGION = 1 << 20


def sequential(total, beats, start=0):
    return [(start + place, beats) for place in range(0, total, beats * BYTES)]


def scattered(total, beats):
    chooser = random.Random(5)
    return [(chooser.randrange(REGION // (beats * BYTES)) * beats * BYTES, beats)
            for _ in range(total // (beats * BYTES))]


def patterns(total):
    """(name, reads, writes): addresses and beats of bursts."""
    yield "read-sequential-32", sequential(total, 32), []
    yield "read-sequential-8", sequential(total, 8), []
    yield "read-scattered-64", scattered(total, 64), []
    yield "read-scattered-8", scattered(total, 8), []
    yield "write-sequential-32", [], sequential(total, 32)
    yield "mixed-3-1", sequential(3 * total // 4, 32), sequential(total // 4, 32, REGION // 2)


@cocotb.test
async def speed(dut):
    """Records each pattern, and the latency of reads one at a time."""
    await record(await Setup(dut).start(), 2)


async def record(setup, peak):
    """Writes the records; ``peak`` is bytes a clock of the memory's controller."""
    dut = setup.dut
    total, records = int(os.environ["OLIVINE_TOTAL"]), []
    wanted = os.environ.get("OLIVINE_ONLY", "").split()
    for name, reads, writes in patterns(total):
        if wanted and name not in wanted:
            continue
        await ClockCycles(dut.clk, 50)
        counts = {count: int(getattr(dut, count).value) for count in ("activates", "refreshes", "reads", "writes")}
        begin = get_sim_time("ps")
        for addr, beats in reads:
            setup.ar.push(_address(setup, addr, beats))
        for addr, beats in writes:
            setup.write(addr, [0x0123456789ABCDEF] * beats)
        await setup.r.collect(sum(beats for _, beats in reads), timeout=1_000_000)
        await setup.b.collect(len(writes), timeout=1_000_000)
        setup.writes = []
        clocks = (get_sim_time("ps") - begin) / DRAM_PS
        moved = BYTES * sum(beats for _, beats in reads + writes)
        records.append({"name": name, "bytes": moved, "clocks": round(clocks), "share": round(moved / peak / clocks, 4),
                        **{count: int(getattr(dut, count).value) - before for count, before in counts.items()}})
    latencies = []
    for turn in range(16):
        await ClockCycles(dut.clk, 30 + turn)
        setup.ar.push(_address(setup, 64, 1))
        while not (dut.bus__ar__valid.value == 1 and dut.bus__ar__ready.value == 1):
            await RisingEdge(dut.clk)
        begin = get_sim_time("ps")
        await setup.r.collect(1)
        latencies.append(get_sim_time("ps") - begin)
    records.append({"name": "read-latency", "ns": round(min(latencies) / 1000),
                    "ns_most": round(max(latencies) / 1000)})
    assert dut.errors.value == 0, f"the chip counts {int(dut.errors.value)} violations: see the log"
    Path(os.environ["OLIVINE_RECORDS"]).write_text(json.dumps(records))


def _address(setup, addr, beats):
    return pack(setup.addresses, {"id": 0, "addr": addr, "len": beats - 1})
