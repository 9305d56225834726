"""The append engine under bad input: each fault has its precise status, none hangs, and what a failed job has left in
memory and reported is right as far as it goes."""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.control.job import StatusCode
from olivine.kvcache.append.descriptor import FIELDS, ROW_BYTES, ROW_FIELDS, SCALES_BYTES, AppendScales
from olivine.kvcache.descriptor import RECORD_BYTES, CachePolicy, CacheStatus
from olivine.linear.descriptor import RowFormat

from tb.axi_memory import DECERR, SLVERR
from tb.kvcache.append_bench import AppendBench, AppendCase

SEED = int(os.environ.get("OLIVINE_SEED", "1"))
DESCRIPTORS = int(os.environ.get("OLIVINE_DESCRIPTORS", "300"))
ABORTS = int(os.environ.get("OLIVINE_ABORTS", "60"))
ERRORS = int(os.environ.get("OLIVINE_ERRORS", "60"))
SCALES_FIELDS = tuple(name for name, _ in AppendScales)


def small_case(rng, config, **fixed):
    """A job of a few hundred cycles, two sequences or more and two row groups."""
    return AppendCase(rng, config, **{"rows": config.rows + 1, "heads": 2, "geometry_heads": 3, "head_dim": 8,
                                      "most": config.rows, **fixed})


def check_remains(bench, case, image, status, events, whole=None):
    """What a job that failed may have left: golden's bytes or the old ones, all of golden's where it reported.
    ``whole``: memory as it would be, had the job not failed; by default golden's."""
    _, slots, after = case.golden(image)
    memory, whole = bench.memory.memory, whole or after
    assert events == slots[:len(events)], (status, events, slots)
    strange = [at for at, (old, new, now) in enumerate(zip(image, whole, memory)) if now not in (old, new)]
    assert not strange, (status, [hex(at) for at in strange[:10]])
    for slot in set(events):
        for head in range(events.count(slot)):
            for first, end in case.pages(slot, case.fields["first_head"] + head):
                assert memory[first:end] == after[first:end], ("reported, not written", status, slot, head)


def begin_again(case, heads=0):
    """The sequences as they were when the first ``heads`` of the job had been appended."""
    for seq in case.sequences.values():
        seq.appended = case.fields["first_head"] + heads


def spoil(rng, config, case):
    """Make one or two fields of a descriptor illegal; returns the first's name."""
    fields, outside = case.fields, 1 << config.addr_width
    container = RowFormat(fields["format"]).bytes
    choices = {
        "opcode": lambda: rng.choice([0, 1, 2, 3, 5, rng.randrange(6, 256)]), "format": lambda: 3, "heads": lambda: 0,
        "first_head": lambda: rng.randrange(case.geometry["heads"] - fields["heads"] + 1, 1 << 16),
        "rows": lambda: rng.choice([0, config.chunk_rows + 1, 4095]),
        "keys": lambda: rng.choice([outside, (fields["keys"] | 1) if container == 2 else outside << 1]),
        "values": lambda: rng.choice([outside, (fields["values"] | 1) if container == 2 else outside << 1]),
        "table": lambda: rng.choice([outside, fields["table"] + rng.randrange(1, ROW_BYTES)]),
        "scales": lambda: rng.choice([outside, fields["scales"] + rng.randrange(1, SCALES_BYTES)]),
    }
    names = rng.sample(sorted(choices), rng.choice([1, 1, 2]))
    if "format" in names:
        names = ["format"]      # the alignment of the others follows from it
    for name in sorted(names, key=FIELDS.index, reverse=True):
        fields[name] = choices[name]()
    if "heads" in names:
        names = [name for name in names if name != "first_head"]
    return min(names, key=FIELDS.index)


@cocotb.test()
async def illegal_descriptors(dut):
    """Every illegal field is named, and nothing moves on the bus."""
    bench = AppendBench(dut, seed=SEED)
    await bench.start()
    rng, shapes = random.Random(SEED), np.random.default_rng(SEED)
    case = small_case(shapes, bench.config)
    image = case.image(len(bench.memory.memory))
    legal, seen = dict(case.fields), set()
    for _ in range(DESCRIPTORS):
        case.fields = dict(legal)
        name = spoil(rng, bench.config, case)
        bursts = len(bench.memory.reads) + len(bench.memory.writes)
        status, events = await bench.submit_case(case, image)
        assert (status["code"], FIELDS[status["detail"]]) == (StatusCode.BAD_FIELD, name), (case.fields, name, status)
        assert case.golden(image)[0][:2] == (StatusCode.BAD_FIELD, FIELDS.index(name))
        assert len(bench.memory.reads) + len(bench.memory.writes) == bursts and not events
        seen.add(name)
    assert seen == set(FIELDS) - {"channels", "full"}, seen
    case.fields = legal
    await bench.compute(case)


def wrong_rows():
    """(name, field that is reported, what makes a case of two sequences wrong), each applied to a random row."""
    def set_row(**change):
        def apply(rng, case, index, seq):
            for name, value in change.items():
                case.rows[index][name] = value(rng, case, index)
        return apply

    def set_sequence(**change):
        def apply(rng, case, index, seq):
            for name, value in change.items():
                setattr(seq, name, value(seq))
        return apply

    def hole(rng, case, index, seq):
        seq.policy = CachePolicy.NONE
        seq.table[(seq.length + case.rows[index]["offset"]) // case.config.lanes] = None

    def twice(rng, case, index, seq):
        case.rows += [dict(row) for row in case.rows if row["slot"] == case.rows[index]["slot"]]
        case.fields.update(rows=len(case.rows), table=case.room(ROW_BYTES * len(case.rows), ROW_BYTES))

    def swap(rng, case, index, seq):
        case.rows[0], case.rows[-1] = case.rows[-1], case.rows[0]

    def cut(rng, case, index, seq):
        case.fields["rows"] -= 1

    return [
        ("no such slot", "slot", set_row(slot=lambda rng, case, index: 0xfff0)),
        ("stale", "generation", set_row(generation=lambda rng, case, index: case.rows[index]["generation"] ^ 1)),
        *((status.name, "generation", set_sequence(status=lambda seq, status=status: status))
          for status in (CacheStatus.BROKEN, CacheStatus.SWAPPED)),
        ("no slot", "slot", set_sequence(status=lambda seq: CacheStatus.NO_SEQUENCE)),
        ("head ahead", "slot", set_sequence(appended=lambda seq: seq.appended + 1)),
        ("head behind", "slot", set_sequence(appended=lambda seq: seq.appended - 1)),
        ("named twice", "slot", twice),
        ("offset", "offset", set_row(offset=lambda rng, case, index: case.rows[index]["offset"] + rng.randrange(1, 9))),
        ("nothing reserved", "offset", set_sequence(reserved=lambda seq: 0)),
        ("more reserved", "offset", set_sequence(reserved=lambda seq: seq.reserved + 1)),
        ("out of order", "offset", swap), ("cut short", "offset", cut),
        ("reserved bits", "reserved", set_row(reserved=lambda rng, case, index: 1 << rng.randrange(12))),
        ("hole", "offset", hole),
    ]


@cocotb.test()
async def bad_rows(dut):
    """Each thing that may be wrong with a row is found before anything is written."""
    bench = AppendBench(dut, patterns=dict.fromkeys(("found", "event"), "half"), seed=SEED)
    await bench.start()
    rng, shapes = random.Random(SEED), np.random.default_rng(SEED)
    for name, field, apply in wrong_rows():
        for _ in range(3):
            # At most as many rows as "twice" may double, and two or more places in the last sequence.
            while True:
                case = small_case(shapes, bench.config, policies=(CachePolicy.NONE, CachePolicy.WINDOW), rows=3,
                                  heads=1, geometry_heads=2)
                if case.fields["first_head"] == 1 and case.sequences[case.order[-1]].reserved > 1:
                    break
            index = rng.randrange(len(case.rows))
            apply(rng, case, index, case.sequences[case.rows[index]["slot"]])
            image = case.image(len(bench.memory.memory))
            code, detail, address, _ = case.golden(image)[0]
            assert (code, ROW_FIELDS[detail]) == (StatusCode.BAD_ROW, field), (name, code, detail)
            assert 0 <= address - case.fields["table"] < ROW_BYTES * len(case.rows)
            status = await bench.compute(case)
            assert bench.memory.memory != image or status["beats_written"] == 0
        await bench.compute(small_case(shapes, bench.config))


@cocotb.test()
async def bad_scales(dut):
    """Bits that must be 0, in any head's scales."""
    bench = AppendBench(dut, seed=SEED)
    await bench.start()
    rng, shapes = random.Random(SEED), np.random.default_rng(SEED)
    for name in ("zero_key", "zero_value"):
        for head in range(2):
            case = small_case(shapes, bench.config)
            case.scales[head][name] = 1 << rng.randrange(10)
            status = await bench.compute(case)
            assert status["code"] is StatusCode.BAD_ENTRY and SCALES_FIELDS[status["detail"]] == name, status
            assert status["address"] == case.fields["scales"] + head * SCALES_BYTES, status
            assert status["beats_written"] == 0


@cocotb.test()
async def damaged_records(dut):
    """A free cell that lies too high, or in no block, of the second head."""
    bench = AppendBench(dut, seed=SEED)
    await bench.start()
    shapes = np.random.default_rng(SEED)
    for wrong in ("high", "hole"):
        for _ in range(3):
            while True:
                case = small_case(shapes, bench.config, policies=(CachePolicy.HEAVY,), most=2)
                slot = case.order[-1]
                seq = case.sequences[slot]
                head = case.fields["first_head"] + 1
                if seq.free[0] and (wrong == "high" or seq.before > bench.config.lanes):
                    break
            cells = 1 << case.geometry["log_cells"]
            record = slot * case.geometry["heads"] + head
            at = case.geometry["records"] + record * cells * RECORD_BYTES + 6 * cells
            cell, image = seq.before, case.image(len(bench.memory.memory))
            # Rows before the bad one in its step may be written.
            _, _, whole = case.golden(image)
            if wrong == "hole":
                cell, seq.table[0] = 0, None
            image[at:at + 2] = cell.to_bytes(2, "little")
            code, detail, address, _ = case.golden(image)[0]
            status, events = await bench.submit_case(case, image)
            assert status["code"] is code is StatusCode.BAD_ROW, (wrong, status, code)
            assert (status["detail"], status["address"]) == (detail, address), (wrong, status)
            begin_again(case)
            check_remains(bench, case, image, status, events, whole)
    await bench.compute(small_case(shapes, bench.config))


def moved(bench, case, image):
    """Beats that a job reads, and beats that it writes."""
    shift = bench.config.bus_bytes.bit_length() - 1
    _, _, after = case.golden(image)
    reads = {(burst.address >> shift) + beat for burst in bench.memory.reads for beat in range(burst.beats)}
    writes = {at >> shift for at, (a, b) in enumerate(zip(image, after)) if a != b}
    return sorted(reads), sorted(writes)


@cocotb.test()
async def bus_errors(dut):
    """An error at any beat: reported with its address, what is left is right, and the next job runs right."""
    bench = AppendBench(dut, seed=SEED, latency=5)
    await bench.start()
    rng, shapes = random.Random(SEED), np.random.default_rng(SEED)
    bus = bench.config.bus_bytes
    seen = reported = 0
    for number in range(4):
        case = small_case(shapes, bench.config, most=(1, bench.config.rows)[number % 2])
        image = case.image(len(bench.memory.memory))
        bench.memory.reads.clear()
        status, _ = await bench.submit_case(case, image)
        assert status["code"] is StatusCode.OK, status
        begin_again(case)
        reads, writes = moved(bench, case, image)
        for _ in range(ERRORS // 4):
            write = rng.random() < .5
            beat = rng.choice(writes if write else reads)
            response = rng.choice([SLVERR, DECERR])
            bench.memory.inject(response, beat * bus, beat * bus + bus - 1, reads=not write, writes=write)
            status, events = await bench.submit_case(case, image)
            kinds = ((StatusCode.READ_SLVERR, StatusCode.READ_DECERR),
                     (StatusCode.WRITE_SLVERR, StatusCode.WRITE_DECERR))
            assert status["code"] is kinds[write][response == DECERR], (hex(beat * bus), write, status)
            if not write:
                assert status["address"] // bus == beat, (hex(beat * bus), status)
            assert bench.memory.outstanding == 0, "reported before the bus was quiet"
            begin_again(case)
            check_remains(bench, case, image, status, events)
            bench.memory.heal()
            seen, reported = seen + 1, reported + bool(events)
        await bench.compute(case)
    assert reported, f"none of {seen} failed jobs had reported anything"


@cocotb.test()
async def goes_on_after_an_error(dut):
    """The heads that a failed job did not report, appended by a second job; the first ones again are refused."""
    bench = AppendBench(dut, seed=SEED, latency=5)
    await bench.start()
    shapes = np.random.default_rng(SEED)
    shift = bench.config.bus_bytes.bit_length() - 1
    went_on = 0
    for _ in range(6):
        case = small_case(shapes, bench.config, rows=1, heads=3, policies=(CachePolicy.NONE,))
        image = case.image(len(bench.memory.memory))
        _, _, after = case.golden(image)
        last = [at for first, end in case.pages(case.order[0], 2) for at in range(first, end) if image[at] != after[at]]
        bench.memory.inject(SLVERR, last[-1] >> shift << shift, last[-1], reads=False)
        status, events = await bench.submit_case(case, image)
        assert status["code"] is StatusCode.WRITE_SLVERR, status
        bench.memory.heal()
        done, left = len(events), bytes(bench.memory.memory)
        if not 0 < done < 3:
            begin_again(case)
            continue
        went_on += 1
        status, events = await bench.submit_case(case, left)
        assert (status["code"], ROW_FIELDS[status["detail"]]) == (StatusCode.BAD_ROW, "slot"), status
        stored = bench.config.rows if case.fields["full"] else 1
        size = done * case.geometry["head_dim"] * case.row_format.bytes * stored
        case.fields.update(first_head=done, heads=3 - done, keys=case.fields["keys"] + size,
                           values=case.fields["values"] + size, scales=case.fields["scales"] + done * SCALES_BYTES)
        status, events = await bench.submit_case(case, left)
        assert status["code"] is StatusCode.OK and len(events) == 3 - done, (status, events)
        assert bench.memory.memory == after
    assert went_on


@cocotb.test()
async def outside_windows(dut):
    """Source, tables, records and pages just outside their windows, one after the other."""
    bench = AppendBench(dut, seed=SEED)
    await bench.start()
    shapes = np.random.default_rng(SEED)
    top = len(bench.memory.memory) - 1
    case = small_case(shapes, bench.config)
    image = case.image(top + 1)
    fields, geometry = case.fields, case.geometry
    size = fields["rows"] * fields["heads"] * geometry["head_dim"] * case.row_format.bytes
    parts = [(fields[name], size, False) for name in ("keys", "values")]
    parts += [(fields["table"], fields["rows"] * ROW_BYTES, False),
              (fields["scales"], fields["heads"] * SCALES_BYTES, False)]
    parts += [(first, end - first, True) for slot in case.order
              for first, end in list(case.pages(slot, fields["first_head"]))[-1:]]
    for first, length, write in parts:
        last = first + length - 1
        outside = [(0, first - 1, 1, 1), (last + 1, top, 1, 1)]
        for windows in (outside, [*outside, (first, last, int(write), int(not write))]):
            bench.open(windows)
            status, events = await bench.submit_case(case, image)
            assert status["code"] is (StatusCode.GUARD_WRITE if write else StatusCode.GUARD_READ), (hex(first), status)
            assert first <= status["address"] <= last, (hex(first), status)
            begin_again(case)
            check_remains(bench, case, image, status, events)
            if write:
                assert bench.memory.memory[first:last + 1] == image[first:last + 1]
    bench.open([(0, top, 1, 1)])
    await bench.compute(case)


@cocotb.test()
async def events_outlive_their_job(dut):
    """A cache that takes no event: the job waits, and fails without losing or changing one."""
    willing = {"now": False}

    def pattern(seed):
        while True:
            yield willing["now"]

    bench = AppendBench(dut, patterns={"event": pattern}, seed=SEED, latency=5)
    await bench.start()
    shapes = np.random.default_rng(SEED)
    for fail in (False, True):
        willing["now"] = False
        case = small_case(shapes, bench.config, most=1, heads=3, geometry_heads=3)
        image = case.image(len(bench.memory.memory))
        _, slots, after = case.golden(image)
        page = list(case.pages(case.order[-1], case.fields["first_head"] + 2))[-1]
        if fail:
            bench.memory.inject(SLVERR, page[0], page[1] - 1, reads=False)
        task = cocotb.start_soon(bench.submit_case(case, image))
        for _ in range(2500):
            await RisingEdge(dut.aclk)
        assert not bench.done.received[bench.collected:], "reported before its events were taken"
        assert dut.event_valid.value == 1 and dut.busy.value == 1
        willing["now"] = True
        status, events = await task
        assert status["code"] is (StatusCode.WRITE_SLVERR if fail else StatusCode.OK), status
        bench.memory.heal()
        begin_again(case)
        check_remains(bench, case, image, status, events)
        assert events if fail else events == slots


@cocotb.test()
async def silence(dut):
    """A bus that is silent for a while, and for longer than the limit."""
    limit = 200
    bench = AppendBench(dut, seed=SEED, timeout=limit)
    await bench.start()
    shapes = np.random.default_rng(SEED)
    timeouts = 0
    for index in range(5):
        case = small_case(shapes, bench.config)
        begin = 15 + 60 * index
        bench.memory.silence(begin, limit - 50)
        await bench.compute(case)
        begin_again(case)
        bench.memory.silence(begin, 3 * limit)
        image = case.image(len(bench.memory.memory))
        status, events = await bench.submit_case(case, image)
        if status["code"] is StatusCode.OK:
            bench.memory.silence(None)
        else:
            assert status["code"] is StatusCode.TIMEOUT and dut.busy.value == 1, status
            timeouts += 1
            while not dut.job_ready.value:
                await RisingEdge(dut.aclk)
            begin_again(case)
            check_remains(bench, case, image, status, events)
        begin_again(case)
        await bench.compute(case)
    assert timeouts


@cocotb.test()
async def given_up(dut):
    """Abort at any cycle of a job, until its status and for a moment only: what is left is right, and the next job runs
    right. Without a job nothing happens."""
    bench = AppendBench(dut, patterns=dict.fromkeys(("found", "event"), "half"), seed=SEED, latency=5)
    await bench.start()
    shapes = np.random.default_rng(SEED)
    ended, reported = {StatusCode.OK: 0, StatusCode.ABORTED: 0}, 0
    for index in range(ABORTS):
        case = small_case(shapes, bench.config, most=(1, bench.config.rows)[index % 2])
        image = case.image(len(bench.memory.memory))
        if index % 8 == 7:
            dut.abort.value = 1
            await RisingEdge(dut.aclk)
            dut.abort.value = 0
        task = cocotb.start_soon(bench.submit_case(case, image))
        await bench.jobs.drained()
        for _ in range(int(shapes.integers(1, 700))):
            await RisingEdge(dut.aclk)
        dut.abort.value = 1
        if index % 4 == 3:
            await RisingEdge(dut.aclk)
            dut.abort.value = 0
        status, events = await task
        dut.abort.value = 0
        assert status["code"] in ended, status
        assert bench.memory.outstanding == 0, "reported before the bus was quiet"
        ended[status["code"]] += 1
        reported += status["code"] is StatusCode.ABORTED and bool(events)
        begin_again(case)
        check_remains(bench, case, image, status, events)
        if status["code"] is StatusCode.OK:
            assert bench.memory.memory == case.golden(image)[2]
        if index % 4 == 0:
            await bench.compute(case)
    assert all(ended.values()) and reported, (ended, reported)


@cocotb.test()
async def reset_in_mid_job(dut):
    """Joint reset at any cycle of a job."""
    bench = AppendBench(dut, seed=SEED)
    await bench.start()
    shapes = np.random.default_rng(SEED)
    for _ in range(10):
        case = small_case(shapes, bench.config)
        bench.case = case
        bench.memory.memory[:] = case.image(len(bench.memory.memory))
        bench.jobs.push(case.descriptor)
        await bench.jobs.drained()
        for _ in range(int(shapes.integers(1, 400))):
            await RisingEdge(dut.aclk)
        await bench.reset()
        begin_again(case)
        await bench.compute(case)
