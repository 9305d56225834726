"""Results: the walk over their blocks, and the packer of words into beats.

Parameters: OLIVINE_CONFIG, OLIVINE_UNIT ("blocks" or "packer").
"""

import os
import random
from dataclasses import replace

import cocotb
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import OutputFormat
from olivine.attention.layout import CHUNKS, FACTOR_BITS, LSE_BITS, O_BITS, SUM_BITS, record_layout
from olivine.attention.normalise import lanes
from olivine.attention.results import ResultPacker, block_layout, result_layout
from olivine.attention.state import record_place
from olivine.linear.plan import ADDRESS_BITS
from olivine.memory.writer import column_command
from olivine_golden.reciprocal import scale

from tb.attention.jobs import (
    BUS,
    CONFIG,
    LANES,
    ROWS,
    kinds_of_chunks,
    plan_bits,
    random_batch,
    random_job,
    random_merge,
    unit_ports,
)
from tb.attention.walk import Walk
from tb.streams import PAIRS, PATTERNS, StreamChecker, StreamSink, StreamSource, cycle, pack, start, unpack

BLOCK, WORD, RECORD = block_layout(CONFIG), result_layout(CONFIG), record_layout(CONFIG)
COMMAND = column_command(ADDRESS_BITS, BUS)
PLACE, PARAMS = record_place(CONFIG), unit_ports(ResultPacker, "params")
DEPTH = 2 * LANES
TURNS = ROWS // lanes(CONFIG)
"""Cycles of a word."""


def block_fields(block, place):
    """A golden block as the packer is told of it; a log-sum-exp has no dims."""
    fields = {"lse": int(block.lse), "header": int(block.header), "last": int(block.last), "rows": block.rows,
              "turn": block.turn, "again": int(block.again), "place": place}
    return fields if block.lse else {**fields, "dims": block.dims}


def command_fields(block):
    """Of a batch a column, if not all lanes are written."""
    fields = {"addr": block.addr, "bytes": block.bytes, "column": int(0 < len(block.lanes) < ROWS)}
    return fields | ({"low": 2 * block.lanes[0], "high": 2 * block.lanes[-1] + 1} if fields["column"] else {})


def contexts_of(job, chunk):
    """The context of each of a chunk's blocks."""
    places = [(number, context) for number in range(len(job.passes)) for context in range(chunk.contexts)]
    if job.merge:
        places.sort(key=lambda place: place[1])
    for number, context in places:
        heads = chunk.rows[context] if job.groups[chunk.group].batch and job.heads > 1 else 1
        yield from [context] * (heads + int(job.lse and number == 0))


def blocks_of(job):
    """Every block, and the place of its record."""
    return [(block, {"bank": number % CHUNKS, "context": context}) for number, chunk in enumerate(job.chunks())
            for block, context in zip(job.result_blocks(chunk), contexts_of(job, chunk), strict=True)]


# --- Blocks -------------------------------------------------------------------------------------------

class Blocks(Walk):
    def __init__(self, dut, pair=("always", "always")):
        super().__init__(dut, blocks_of, {"o_block": (BLOCK, lambda entry: block_fields(*entry)),
                                          "o_command": (COMMAND, lambda entry: command_fields(entry[0]))}, pair)

    async def walk(self, job):
        """Also: ``done`` rises two cycles after the last block was announced on both ports, and stays."""
        await self.fresh(job)
        await RisingEdge(self.dut.clk)
        assert self.dut.done.value == 0
        watch = cocotb.start_soon(self.until_done())
        count = await super().walk(job)
        assert self.dut.done.value == 1
        assert watch.done() and watch.result() == max(sink.cycles[-1] for sink in self.sinks.values()) + 2
        return count

    async def until_done(self):
        """The cycle in which ``done`` is high for the first time in this job."""
        await RisingEdge(self.dut.clk)
        while self.dut.rst.value == 1 or self.dut.done.value != 1:
            await RisingEdge(self.dut.clk)
        return cycle()


async def walks_any_job(dut, pair):
    bench, rng = Blocks(dut, pair), random.Random(f"walk {pair}")
    for make in (random_job, random_job, random_merge):
        await bench.walk(make(rng))


async def walks_batches(dut, pair):
    """Groups in a batch and others, of one head and of several, whose dims take several passes too."""
    bench, rng = Blocks(dut, pair), random.Random(f"batch {pair}")
    for _ in range(6):
        await bench.walk(random_batch(rng))
    for heads in (1, 2, ROWS):
        await bench.walk(random_batch(rng, heads=heads, lse=True, head_dim=CONFIG.max_head_dim))


async def walks_each_kind(dut, o_format):
    """Whole and partial results of attention and of merge jobs, with the log-sum-exp where there is one."""
    bench, rng = Blocks(dut), random.Random(f"kinds {o_format}")
    o_format = OutputFormat[o_format]
    lse = o_format is not OutputFormat.PARTIAL
    for job in kinds_of_chunks(rng, o_format=o_format, lse=lse):
        await bench.walk(job)
    for head_dim in (8, LANES, LANES + 8, CONFIG.max_head_dim):
        for rows in (1, ROWS * CONFIG.contexts, 2 * ROWS * CONFIG.contexts - 1):
            await bench.walk(random_merge(rng, rows=rows, head_dim=head_dim, o_format=o_format, lse=lse))


async def a_block_in_four_cycles(dut):
    """And one more a chunk."""
    bench, rng = Blocks(dut), random.Random("speed")
    large = {"groups": 1, "rows": 5 * ROWS * CONFIG.contexts, "head_dim": CONFIG.max_head_dim}
    for job in (random_job(rng, **large), random_merge(rng, **large),
                random_batch(rng, groups=5, heads=ROWS, head_dim=CONFIG.max_head_dim)):
        count = await bench.walk(job)
        for sink in bench.sinks.values():
            cycles = sink.cycles[-count:]
            assert cycles[-1] - cycles[0] == 4 * (count - 1) + len(job.chunks()) - 1


# --- Packer -------------------------------------------------------------------------------------------

def container(value, size):
    """A number's low bytes."""
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


class Packer:
    """Sends words of results while there is credit, records before them, and collects beats.

    Attributes
    ----------
    credits : int
        Words that there is room for.
    """

    def __init__(self, dut, patterns=("always", "always", "always"), seed=0):
        self.dut, self.rng = dut, random.Random(f"{seed}")
        self.willing = PATTERNS[patterns[0]](1)
        self.blocks = StreamSource(dut, "i_block", patterns[1], seed=2)
        self.sink = StreamSink(dut, "o", patterns[2], seed=3)
        StreamChecker(dut, "o"), StreamChecker(dut, "i_block")
        self.beats = unit_ports(ResultPacker, "o")
        self.credits, self.chunks, self.begun = DEPTH, 0, False
        self.shifts, self.saturated, self.expected, self.number = [0] * CHUNKS, 0, 0, 0
        for name in ("plan", "params", "i_valid", "i", "record_valid", "record_place", "record"):
            getattr(dut, name).value = 0

    async def begin(self, job):
        """The packer is empty between jobs, and needs no reset."""
        self.dut.plan.value = plan_bits(job)
        if not self.begun:
            self.begun = True
            await start(self.dut)
        self.chunks = self.saturated = self.expected = self.number = 0

    def noise(self, bits):
        return self.rng.randrange(-1 << bits - 1, 1 << bits - 1)

    def record(self, plain):
        """``plain``: of rows whose results are O itself."""
        return [{"m": self.rng.randint(-128, 128), "l": self.rng.getrandbits(SUM_BITS), "lse": self.noise(LSE_BITS),
                 "exponent": self.rng.randrange(16 if plain else 32),
                 "factor": 1 if plain else self.rng.randrange(1, 1 << FACTOR_BITS)} for _ in range(ROWS)]

    def result(self, job, value, row, bank):
        """A row's result, counted where it saturates."""
        if job.partial:
            return value
        result, saturated = scale(value, row["exponent"], row["factor"], self.shifts[bank], job.o_format.bits)
        self.expected += int(saturated)
        return int(result)

    def contents(self, job, chunk):
        """Records of a chunk's contexts, and for each of its blocks its words, with noise where nothing exists, and
        its bytes, None where a batch has other lanes."""
        bank, plain = self.number % CHUNKS, self.rng.random() < .4
        self.number += 1
        self.shifts[bank] = 0 if plain else self.rng.randint(14, 40)
        self.dut.params.value = pack(PARAMS, [{"o_shift": shift} for shift in self.shifts])
        records = [self.record(plain) for _ in range(chunk.contexts)]
        found, dims, places = [], [], []
        order = list(job.result_blocks(chunk))
        for block, context in zip(order, contexts_of(job, chunk), strict=True):
            record = records[context]
            places.append({"bank": bank, "context": context})
            rows = range(block.rows)
            if block.lse:
                found.append(([], b"".join(container(record[row]["lse"], 4) for row in rows)))
                continue
            image = b""
            if block.header:
                image = b"".join(container(record[row]["m"], 2) for row in rows)
                image += b"".join(container(record[row]["l"] >> 16 * half, 2) for half in (0, 1) for row in rows)
            words, again = [], bool(found) and order[len(found) - 1].again
            dims = dims if again else []
            for dim in range(block.dims):
                bits = O_BITS if job.partial else job.o_format.bits if plain else self.rng.randint(1, O_BITS)
                if not again:
                    # A row without a token has no O.
                    sums = [self.noise(bits) if row < chunk.rows[context] else 0 for row in range(ROWS)]
                    words.append(pack(WORD, [value if row < block.rows or not job.partial else self.noise(O_BITS)
                                             for row, value in enumerate(sums)]))
                    dims.append([self.result(job, value, record[row], bank) for row, value in enumerate(sums)])
                values = dims[dim]
                if block.lanes:
                    of_lane = {lane: container(values[(lane - block.turn) % ROWS], 2) for lane in block.lanes}
                    image += b"".join(of_lane.get(lane, b"??") for lane in range(ROWS))
                    masked = b"".join((b"\0\0", b"\1\1")[lane in block.lanes] for lane in range(ROWS)) * block.dims
                elif job.partial:
                    image += b"".join(container(values[row] >> 16 * plane, 2) for plane in range(3) for row in rows)
                else:
                    image += b"".join(container(values[row], job.o_format.bytes) for row in rows)
            image = image if not block.lanes else [byte if known else None for byte, known in zip(image, masked)]
            found.append((words, image))
        self.pending = [pack(BLOCK, {"dims": block.dims, **block_fields(block, place)})
                        for block, place in zip(order, places)]
        return [(record, {"bank": bank, "context": context}) for context, record in enumerate(records)], found

    async def cycle(self, word=None, record=None):
        dut = self.dut
        dut.i_valid.value, dut.record_valid.value = int(word is not None), int(record is not None)
        dut.i.value = self.rng.getrandbits(WORD.size) if word is None else word
        record, place = ({}, {}) if record is None else record
        dut.record.value = pack(RECORD, record) if record else self.rng.getrandbits(RECORD.size)
        dut.record_place.value = pack(PLACE, place) if place else self.rng.getrandbits(PLACE.size)
        await RisingEdge(dut.clk)
        self.saturated += int(dut.saturated.value)
        # A word counts from the cycle in which it is sent; what leaves makes room in the cycle after.
        self.credits += int(dut.credit.value) - (word is not None)
        self.chunks += int(dut.chunk_done.value)
        assert self.credits <= DEPTH, "more words left than came"

    async def send(self, words):
        for word in words:
            while not (self.credits and next(self.willing)):
                await self.cycle()
            await self.cycle(word)

    async def take(self, images):
        """Wait for the packets of blocks, and compare their bytes."""
        for image in images:
            for first in range(0, len(image), BUS):
                part = image[first:first + BUS]
                while not (got := self.sink.received):
                    await self.cycle()
                beat = unpack(self.beats, got.pop(0))
                wrong = [at for at, (byte, want) in enumerate(zip(beat["data"], part)) if want not in (None, byte)]
                assert not wrong, (first, beat, part)
                assert beat["count"] == len(part) and beat["last"] == (first + BUS >= len(image))
        for _ in range(10):
            await self.cycle()
        assert not self.sink.received and self.credits == DEPTH and self.saturated == self.expected

    async def run(self, job):
        """The blocks of a job, in their order; records of a chunk come before its words, if the job uses them."""
        await self.begin(job)
        images, done = [], 0
        for chunk in job.chunks():
            # Records of at most two chunks wait.
            while done - self.chunks > 1:
                await self.cycle()
            records, contents = self.contents(job, chunk)
            self.blocks.push(self.pending)
            for record in records:
                await self.cycle(record=record)
            for words, image in contents:
                await self.send(words)
                images.append(image)
            done += 1
        await self.take(images)
        assert self.chunks == done, f"{self.chunks} of {done} chunks ended"


def packable(rng, make=random_job, limit=500, **fixed):
    """A random job that a simulation can pack."""
    while True:
        job = make(rng, **fixed)
        if sum(block.dims for block, _ in blocks_of(job)) <= limit:
            return job


async def packs_jobs(dut, pair):
    """Every format, of attention and of merge jobs, under stalls of words, of blocks and of the bus."""
    bench = Packer(dut, (pair[0], pair[1], pair[1]), pair)
    for make in (random_job, random_merge):
        await bench.run(packable(bench.rng, make, o_format=OutputFormat.PARTIAL, limit=200))
        await bench.run(packable(bench.rng, make, lse=True, o_format=bench.rng.choice(list(OutputFormat)[:3])))
        await bench.run(packable(bench.rng, make, lse=False, o_format=bench.rng.choice(list(OutputFormat)[:3])))


async def packs_batches(dut, pair):
    """Groups in a batch and others: of one head any lanes, of several the words of each head once more."""
    bench = Packer(dut, (pair[0], pair[1], pair[1]), pair)
    for heads in (1, 2, ROWS):
        for lse in (False, True):
            await bench.run(packable(bench.rng, random_batch, heads=heads, lse=lse, groups=4))


async def packs_each_kind(dut, o_format):
    bench = Packer(dut, seed=f"kinds {o_format}")
    for rows in (1, ROWS, ROWS + 1, ROWS * CONFIG.contexts):
        for make in (random_job, random_merge):
            for lse in {False, OutputFormat[o_format] is not OutputFormat.PARTIAL}:
                await bench.run(packable(bench.rng, make, groups=1, rows=rows, lse=lse, o_format=OutputFormat[o_format],
                                         head_dim=bench.rng.choice((8, CONFIG.max_head_dim)), limit=1000))


async def holds_what_credits_say(dut, o_format):
    """While no beat leaves, all words that there is credit for find room, and none is lost."""
    stopped = True
    bench = Packer(dut, ("always", "always", lambda seed: iter(lambda: not stopped, None)))
    job = random_job(bench.rng, groups=1, rows=2 * ROWS, head_dim=CONFIG.max_head_dim, o_format=OutputFormat[o_format],
                     lse=False)
    await bench.begin(job)
    chunk, = job.chunks()
    records, contents = bench.contents(job, chunk)
    words = [word for words, _ in contents for word in words]
    assert len(words) > DEPTH
    for record in records:
        await bench.cycle(record=record)
    for word in words[:DEPTH]:
        await bench.cycle(word)
    for _ in range(30):
        await bench.cycle()
    assert bench.credits == 0
    bench.blocks.push(bench.pending)
    # Now some of them leave for the gearbox, and as many are sent after them; the bus still stands.
    sent = DEPTH
    for _ in range(60):
        full = not bench.credits
        await bench.cycle(None if full else words[sent])
        sent += not full
    assert bench.credits == 0 and sent < len(words) and (job.partial or sent > DEPTH)
    stopped = False
    await bench.send(words[sent:])
    await bench.take([image for _, image in contents])


async def a_word_a_cycle(dut):
    """One-byte results of full row groups: a word a cycle. Partial results: a word in three."""
    bench = Packer(dut)
    for o_format, cycles in ((OutputFormat.INT8, 1), (OutputFormat.PARTIAL, 3)):
        job = random_job(bench.rng, groups=1, rows=ROWS * CONFIG.contexts, head_dim=8, lse=False, o_format=o_format)
        if cycles == 3 and 2 * ROWS // TURNS > BUS:
            continue    # the bus is slower
        await bench.begin(job)
        chunk, = job.chunks()
        records, contents = bench.contents(job, chunk)
        words = [word for words, _ in contents for word in words]
        for record in records:
            await bench.cycle(record=record)
        bench.blocks.push(bench.pending)
        cycles *= TURNS
        begin = cycle()
        await bench.send(words)
        while bench.chunks == 0:
            await bench.cycle()
        headers = 3 * TURNS * len(records) if job.partial else 0
        took = cycle() - begin
        assert cycles * len(words) + headers <= took <= cycles * len(words) + headers + 8, (took, len(words))
        await bench.take([image for _, image in contents])


async def heads_a_word_a_cycle(dut):
    """Heads of tokens in a batch: a beat a cycle, head after head."""
    bench = Packer(dut)
    job = random_batch(bench.rng, groups=4, heads=ROWS, head_dim=CONFIG.max_head_dim, lse=False)
    job = replace(job, groups=tuple(group for group in job.groups if group.batch))
    await bench.begin(job)
    images = []
    for chunk in job.chunks():
        records, contents = bench.contents(job, chunk)
        for record in records:
            await bench.cycle(record=record)
        bench.blocks.push(bench.pending)
        begin = len(bench.sink.cycles)
        await bench.send(word for words, _ in contents for word in words)
        while bench.chunks < bench.number:
            await bench.cycle()
        beats = sum(len(image) for _, image in contents) // BUS
        while len(bench.sink.cycles) < begin + beats:
            await bench.cycle()
        cycles = bench.sink.cycles[begin:]
        assert beats * BUS == 2 * ROWS * beats and cycles[-1] - cycles[0] == (beats - 1) * TURNS
        images += [image for _, image in contents]
    await bench.take(images)


# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")
formats = cocotb.parametrize(o_format=[o_format.name for o_format in OutputFormat])

if os.environ["OLIVINE_UNIT"] == "blocks":
    walks_any_job = test(cocotb.parametrize(pair=PAIRS[::2])(walks_any_job))
    walks_batches = test(cocotb.parametrize(pair=PAIRS[::3])(walks_batches))
    walks_each_kind = test(formats(walks_each_kind))
    a_block_in_four_cycles = test(a_block_in_four_cycles)
else:
    packs_jobs = test(cocotb.parametrize(pair=PAIRS[::4])(packs_jobs))
    packs_batches = test(cocotb.parametrize(pair=PAIRS[::4])(packs_batches))
    heads_a_word_a_cycle = test(heads_a_word_a_cycle)
    packs_each_kind = test(formats(packs_each_kind))
    holds_what_credits_say = test(cocotb.parametrize(o_format=["INT16", "PARTIAL"])(holds_what_credits_say))
    a_word_a_cycle = test(a_word_a_cycle)
