"""Table: entries and lists fetched and checked, chunks cut; the regrouping of beats, and the fan of chunks.

Parameters: OLIVINE_CONFIG, OLIVINE_UNIT ("walk", "elements" or "fan").
"""

import os
import random

import cocotb
from amaranth.hdl import Shape
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import ENTRY_BYTES, GROUP_FIELDS, AttentionGroup, OutputFormat
from olivine.attention.layout import CHUNKS, POSITION_BITS
from olivine.attention.plan import address_bits
from olivine.attention.table import chunk_layout, page_layout, params_layout
from olivine.attention.walk import TableWalk
from olivine.control.job import StatusCode, command
from olivine.linear.descriptor import RowFormat
from olivine.memory.realign import words
from olivine_golden.attention_legal import crooked_page, crooked_part, illegal_entry

from tb.attention.jobs import (
    BUS,
    CONFIG,
    LANES,
    ROWS,
    Fresh,
    chunk_bits,
    chunk_fields,
    entry_bits,
    kinds_of_chunks,
    random_job,
    random_merge,
    unit_ports,
)
from tb.streams import PAIRS, PATTERNS, StreamChecker, StreamSink, StreamSource, cycle, pack, start, unpack

COMMAND, CHUNK, PAGE = command(address_bits(CONFIG)), chunk_layout(CONFIG), page_layout(CONFIG)
PARAMS = ("score_mult", "score_shift", "o_mult", "o_shift")


# --- The walk -----------------------------------------------------------------------------------------

class Walker:
    """The walk, a memory that answers its commands, and a user who keeps chunks for a while.

    Parameters
    ----------
    dut : handle
    patterns : tuple of str
        Of the elements that come, and of the willingness to take commands, bases and chunks.
    done : float
        Probability by cycle that the oldest chunk ends.
    """

    def __init__(self, dut, patterns=("always", "always"), done=1, seed=0):
        self.dut, self.rng, self.done = dut, random.Random(f"{seed}"), done
        self.fresh = Fresh(dut)
        self.elements = StreamSource(dut, "i", patterns[0], seed=1)
        self.commands = StreamSink(dut, "o_command", patterns[1], seed=2)
        self.pages = StreamSink(dut, "o_page", patterns[1], seed=3)
        self.willing = PATTERNS[patterns[1]](4)
        for name in ("i", "o_command", "o_page", "o_chunk"):
            StreamChecker(dut, name)
        for name in ("o_chunk__ready", "chunk_done", "bounds_addr", "geometry", "appending", "mask_addr", "tree_addr",
                     "lookup__ready", "found__valid", "found__payload", "o_group__ready", "o_cells__ready"):
            getattr(dut, name).value = 0
        self.addr = unit_ports(TableWalk, "bounds_addr")
        self.bounds = unit_ports(TableWalk, "bounds")

    async def begin(self, job, entries=None):
        """Reset the walk with a job's plan; ``entries`` lie in the table instead of the job's own."""
        self.job, self.chunks = job, job.chunks()
        entries = entries or [group.entry() for group in job.groups]
        self.memory = {}
        for index, (group, entry) in enumerate(zip(job.groups, entries)):
            bits = entry_bits(entry)
            self.memory |= {job.table + ENTRY_BYTES * index + 8 * part: bits >> 64 * part & (1 << 64) - 1
                            for part in range(ENTRY_BYTES // 8)}
            self.memory |= {group.bases + 8 * place: base for place, base in enumerate(group.listed)}
        self.answered = len(self.commands.received)
        self.commands_before, self.pages_before = self.answered, len(self.pages.received)
        self.taken, self.ended, self.offered = 0, 0, False      # chunks taken and ended; one is on offer
        self.offers = []                                        # cycle of each offer's first
        self.asked = None
        self.dut.o_chunk__ready.value = self.dut.chunk_done.value = 0
        await self.fresh(job)

    def visible(self):
        """Chunks whose scales and bounds can be read: those that did not end, and one on offer."""
        return self.chunks[self.ended:self.taken + self.offered]

    async def cycle(self):
        dut, rng = self.dut, self.rng
        asked, self.asked = self.asked, None
        seen = self.visible()
        if seen:
            chunk = rng.choice(seen)
            context = rng.randrange(chunk.contexts)
            dut.bounds_addr.value = pack(self.addr, {"bank": chunk.bank, "context": context})
            self.asked = chunk, context
        ends = self.ended < self.taken and rng.random() < self.done
        if ends and self.asked and self.asked[0] is self.chunks[self.ended]:
            self.asked = None
        ready = next(self.willing)
        dut.chunk_done.value, dut.o_chunk__ready.value = int(ends), int(ready)
        await RisingEdge(dut.clk)
        if asked and not self.job.merge:
            self.check_bounds(*asked, unpack(self.bounds, int(dut.bounds.value)))
        valid = int(dut.o_chunk__valid.value)
        if valid:
            self.check_chunk()
            if not self.offered:
                self.offers.append(cycle())
        self.offered = bool(valid and not ready)
        for chunk in self.visible() if not valid or self.offered else self.chunks[self.ended:self.taken + 1]:
            group = self.job.groups[chunk.group]
            params = unpack(params_layout, int(dut.params.value) >> chunk.bank * params_layout.size)
            want = {name: getattr(group, name) for name in PARAMS}
            assert {name: params[name] for name in PARAMS} == want, (chunk, params)
            assert params["position"] % (1 << POSITION_BITS) == group.position % (1 << POSITION_BITS)
        self.taken += valid and ready
        self.ended += ends
        while self.answered < len(self.commands.received):
            command = unpack(COMMAND, self.commands.received[self.answered])
            self.answered += 1
            assert command["bytes"] % 8 == 0, command
            self.elements.push(self.memory[place] for place in range(
                command["addr"], command["addr"] + command["bytes"], 8))

    def check_chunk(self):
        assert self.taken < len(self.chunks), "a chunk after the last"
        assert self.taken - self.ended < CHUNKS, "a chunk on offer whose bank is not free"
        chunk, job = self.chunks[self.taken], self.job
        want, got = chunk_fields(job, chunk), unpack(CHUNK, int(self.dut.o_chunk__payload.value))
        ignored = {"q", "lookahead"} if job.merge else {"part"}
        ignored |= set() if job.lse else {"lse"}
        want, got = ({name: value for name, value in fields.items() if name not in ignored} for fields in (want, got))
        assert got == want, f"chunk {self.taken}: {got}, not {want} of {job}"

    def check_bounds(self, chunk, context, bounds):
        got = [(max(row["low"], 0), row["high"]) if row["high"] > max(row["low"], 0) else (0, 0) for row in bounds]
        want = self.job.bounds(chunk)[context]
        assert got == want, f"context {context} of {chunk}: {bounds}, not {want} of {self.job}"

    def page(self, fields):
        """What means something of a page."""
        return fields["addr"] if self.job.merge else fields

    async def run(self, job, chunks=None, timeout=60_000):
        """A job, and nothing after it; or as many of its first chunks."""
        await self.begin(job)
        goal = len(self.chunks) if chunks is None else min(chunks, len(self.chunks))
        for _ in range(timeout):
            if self.ended >= goal:
                break
            await self.cycle()
        assert self.ended >= goal, f"{self.ended} of {goal} chunks came"
        want = [self.page(page) for chunk in self.chunks[:goal] for page in job.pages(chunk)]
        for _ in range(timeout):
            if len(self.pages.received) - self.pages_before >= len(want):
                break
            await self.cycle()
        got = [self.page(unpack(PAGE, bits)) for bits in self.pages.received[self.pages_before:]]
        assert got[:len(want)] == want, job
        commands = [{"addr": addr, "bytes": size} for addr, size in (
            entry for entry, _ in zip(job.table_commands(), range(goal if chunks else 1 << 30)))]
        asked = [unpack(COMMAND, bits) for bits in self.commands.received[self.commands_before:]]
        assert asked[:len(commands)] == commands, job
        if chunks is None:
            for _ in range(30):
                await self.cycle()
            assert len(self.pages.received) - self.pages_before == len(want), "pages after the last"
            assert len(self.commands.received) - self.commands_before == len(commands), "commands after the last"
        assert self.dut.fault.value.is_resolvable and int(self.dut.fault.value) & 1 == 0


async def walks_any_job(dut, pair):
    bench = Walker(dut, pair, done=random.Random(f"{pair}").choice((0.02, 0.2, 1)), seed=pair)
    for _ in range(2):
        await bench.run(random_job(bench.rng))
    await bench.run(random_merge(bench.rng))


async def walks_each_kind(dut, seed):
    """Every kind of chunk: blank, of pages from the middle on, with a short last page."""
    bench = Walker(dut, done=0.1, seed=f"kinds {seed}")
    seen = set()
    for job in kinds_of_chunks(bench.rng):
        await bench.run(job)
        for chunk in job.chunks():
            seen |= {("blank", chunk.blank), ("short", chunk.last_keys < LANES), ("late", chunk.first_page > 0),
                     ("several", chunk.pages > 1), ("ragged", chunk.rows[-1] < ROWS)}
    assert len(seen) == 10, seen


async def walks_large_jobs(dut, seed):
    """The beginning of jobs with the most rows and keys, and positions and windows as far as they go."""
    bench = Walker(dut, seed=f"large {seed}")
    rng = bench.rng
    keys = rng.choice((CONFIG.max_sequence, rng.randint(1, CONFIG.max_sequence)))
    rows = (1 << 20) - 1 if seed == 0 else rng.randint(1, 20_000)
    far = rng.choice(((1 << 23) - 1, -1 << 23, keys - 1, rng.randint(-1 << 23, (1 << 23) - 1), rng.randint(0, keys)))
    job = random_job(rng, groups=1, rows=rows, keys=keys, position=far, heads=rng.choice((1, 511, rng.randint(1, 511))),
                     window=rng.choice((0, (1 << 20) - 1, rng.randint(1, keys))))
    await bench.run(job, chunks=6)


async def does_not_wrap_around(dut):
    """Positions far from all keys, whose low bits are those of a key: they see none, or all of them."""
    bench = Walker(dut, seed="wrap")
    for turns in (-4, -1, 1, 2, 7):
        for causal, window in ((True, 3), (False, 3), (True, 0), (False, (1 << 20) - 1)):
            job = random_job(bench.rng, groups=1, rows=ROWS, keys=2 * LANES, position=(turns << 20) + LANES,
                             heads=1, causal=causal, window=window, head_dim=8)
            chunk, = job.chunks()
            before = turns > 0 and window and not (turns == 1 and window > 3)
            assert chunk.blank == bool(before or turns < 0 and causal), (turns, causal, window)
            await bench.run(job)


async def keys_end_within_a_chunk(dut):
    """Causal rows whose positions pass the last key in the middle of a chunk: from there on they see all keys."""
    bench = Walker(dut, done=0.02, seed="ends")
    rows = ROWS * CONFIG.contexts
    for heads in (1, 2, ROWS):
        keys = 2 * LANES + 3
        first = keys - rows // (2 * heads) - 1
        job = random_job(bench.rng, groups=1, rows=rows, keys=keys, position=first, heads=heads, causal=True, window=0,
                         head_dim=8)
        chunk, = job.chunks()
        ends = [high for context in job.bounds(chunk) for _, high in context]
        assert ends[0] < keys and ends.count(keys) > heads
        await bench.run(job)


async def in_its_time(dut):
    """From an entry's last element to a chunk's offer: a cycle a row and 6, from the last base of the chunk before one
    less; the command for its bases follows in the next cycle but one, and blank chunks follow one another without
    one."""
    bench, rng = Walker(dut, seed="time"), random.Random("time")
    job = random_job(rng, groups=2, rows=3 * ROWS * CONFIG.contexts - 1, keys=2 * LANES, causal=False, window=0,
                     head_dim=8)
    await bench.run(job)
    before, arrivals = -1, list(bench.elements.cycles)
    for chunk, offer in zip(job.chunks(), bench.offers):
        previous = max(arrived for arrived in arrivals if arrived < offer)
        assert offer - previous == ROWS * chunk.contexts + (6 if chunk.first_row == 0 else 5), chunk
        assert offer + 2 in bench.commands.cycles and previous > before
        before = offer
    bench.elements.cycles.clear()
    blank = random_job(rng, groups=1, rows=3 * ROWS * CONFIG.contexts, keys=2, position=-1000, causal=True, head_dim=8)
    await bench.run(blank)
    assert all(chunk.blank for chunk in blank.chunks())
    assert [after - before for before, after in zip(bench.offers, bench.offers[1:])] == \
        [ROWS * CONFIG.contexts + 5] * 2


def illegal_changes(rng, job, entry):
    """Every way to spoil each field of a legal entry: (field, value)."""
    def outside(name):
        return [entry[name] | 1 << bit for bit in range(CONFIG.addr_width, 48)]

    changes = {
        "q": [] if job.merge else outside("q") + [entry["q"] | 1] * (job.q_format is RowFormat.INT12),
        "o": outside("o") + [entry["o"] | 1] * (job.o_format is not OutputFormat.INT8),
        "lse": outside("lse") + [entry["lse"] | 1, entry["lse"] | 2] if job.lse else [],
        "bases": outside("bases") + [entry["bases"] | 1 << bit for bit in range(3)],
        "rows": [0], "keys": [0, CONFIG.max_sequence + 1, (1 << 20) - 1],
    }
    for name in ("zero_shift", "zero_bases", "zero_keys", "zero_position", "zero_page", "reserved"):
        bits = Shape.cast(AttentionGroup[name].shape).width
        changes[name] = [1 << bit for bit in (0, bits - 1, rng.randrange(bits), rng.randrange(bits))]
    return [(name, value) for name, values in changes.items() for value in values]


async def expect_fault(bench, job, entries, index, name):
    """Entry ``index`` is illegal: the chunks of those before it, then a fault that stays, and nothing more."""
    await bench.begin(job, entries)
    good = [chunk for chunk in bench.chunks if chunk.group < index]
    for _ in range(20 + (8 + ROWS * CONFIG.contexts) * 3 * (1 + len(good))):
        await bench.cycle()
    assert bench.taken == len(good), "a chunk of an illegal entry, or too few of the others"
    fault = unpack(unit_ports(TableWalk, "fault"), int(bench.dut.fault.value))
    want = {"valid": 1, "code": StatusCode.BAD_ENTRY, "field": GROUP_FIELDS.index(name),
            "address": job.table + ENTRY_BYTES * index}
    assert fault == want, (name, entries[index], fault, want)
    commands = [unpack(COMMAND, bits)["addr"] for bits in bench.commands.received[bench.commands_before:]]
    assert commands[-1] == want["address"], "a command after the fault"


async def spoils_one_field(dut):
    """Each illegal value of each field of an entry is found and named."""
    bench, rng = Walker(dut, seed="spoils"), random.Random("spoils")
    seen = set()
    for make in (random_job, random_merge):
        for wide in (True, False):
            o_format = OutputFormat.INT12 if wide else OutputFormat.INT8
            job = make(rng, groups=1, rows=1, lse=wide, q_format=RowFormat(int(wide)), o_format=o_format)
            legal = job.groups[0].entry()
            for name, value in illegal_changes(rng, job, legal):
                await expect_fault(bench, job, [{**legal, name: value}], 0, name)
                seen.add(name)
    free = {"score_mult", "o_mult", "score_shift", "o_shift", "position", "page_offset"}
    assert seen == set(GROUP_FIELDS) - free


async def names_the_first(dut):
    """Of several illegal fields the first is reported, in a later entry too; what nobody looks at may be anything."""
    bench, rng = Walker(dut, seed="first"), random.Random("first")
    for _ in range(60):
        job = rng.choice((random_job, random_merge))(rng, groups=2, rows=1)
        entries = [group.entry() for group in job.groups]
        index = rng.randrange(2)
        for name, value in rng.sample(illegal_changes(rng, job, entries[index]), 3):
            entries[index][name] = value
        name = illegal_entry(CONFIG, job.fields(), entries[index])
        await expect_fault(bench, job, entries, index, name)
    job = random_merge(rng, rows=1, o_format=OutputFormat.PARTIAL)
    await bench.begin(job, [{**group.entry(), "q": (1 << 48) - 1, "lse": (1 << 48) - 1} for group in job.groups])
    for _ in range(200 + 60 * len(job.groups)):
        await bench.cycle()
    assert bench.taken == len(bench.chunks)


def spoilt(rng, base, alignment):
    """A base with one bit that it must not have."""
    low = alignment.bit_length() - 1
    return base ^ 1 << rng.choice([*range(low), *range(CONFIG.addr_width, 64)])


async def stops_at_a_crooked_base(dut, seed):
    """Of pages and of partial results: what comes before it, then a fault that stays, and nothing more."""
    rng = random.Random(f"crooked {seed}")
    bench = Walker(dut, rng.choice(PAIRS), seed=f"crooked {seed}")
    if seed % 2:
        job, alignment, crooked = random_merge(rng), 2, crooked_part
    else:
        job = random_job(rng, keys=rng.choice((3 * LANES, 1, 2 * LANES + 1)), causal=False, window=0)
        alignment, crooked = BUS, crooked_page
    place = rng.randrange(len(job.groups[0].listed))
    group = job.groups[0]
    base = group.listed[place]
    bad = spoilt(rng, base, alignment)
    assert crooked(CONFIG, bad, group.page_offset) and not crooked(CONFIG, base, group.page_offset)
    await bench.begin(job)
    bench.memory[group.bases + 8 * place] = bad
    for _ in range(300 + 8 * ROWS * CONFIG.contexts):
        await bench.cycle()
    fault = unpack(unit_ports(TableWalk, "fault"), int(bench.dut.fault.value))
    want = {"valid": 1, "code": StatusCode.BAD_BASE, "field": 0,
            "address": bad % (1 << 48) + group.page_offset}
    assert fault == want, (fault, want)
    pages = [bench.page(page) for page in job.pages(bench.chunks[0])][:place]
    got = [bench.page(unpack(PAGE, bits)) for bits in bench.pages.received[bench.pages_before:]]
    assert got == pages


# --- Elements -----------------------------------------------------------------------------------------

BEATS = int(os.environ.get("OLIVINE_BEAT", BUS))


def as_words(rng, elements):
    """Payloads of the words of one command."""
    image = b"".join(element.to_bytes(8, "little") for element in elements)
    for first in range(0, len(image), BEATS):
        part = image[first:first + BEATS]
        yield pack(words(BEATS), {"data": [*part, *rng.randbytes(BEATS - len(part))], "count": len(part),
                                  "last": int(first + BEATS >= len(image))})


async def regroups(dut, pair):
    rng = random.Random(f"elements {pair}")
    source, sink = StreamSource(dut, "i", pair[0], seed=1), StreamSink(dut, "o", pair[1], seed=2)
    StreamChecker(dut, "i"), StreamChecker(dut, "o")
    await start(dut)
    elements = []
    for _ in range(20):
        some = [rng.getrandbits(64) for _ in range(rng.choice((1, 8, rng.randint(1, 20))))]
        source.push(as_words(rng, some))
        elements += some
    assert await sink.collect(len(elements)) == elements
    await source.drained()
    for _ in range(10):
        await RisingEdge(dut.clk)
    assert len(sink.received) == len(elements)


async def regroups_at_full_speed(dut):
    source, sink = StreamSource(dut, "i"), StreamSink(dut, "o")
    await start(dut)
    rng = random.Random("speed")
    elements = [rng.getrandbits(64) for _ in range(64)]
    source.push(as_words(rng, elements))
    assert await sink.collect(64) == elements
    assert sink.cycles[-1] - sink.cycles[0] == 63 * max(1, 8 // BEATS)


# --- The fan ------------------------------------------------------------------------------------------

OUTPUTS = 4


async def gives_to_all(dut, pair):
    """Everyone gets every chunk; the slowest holds the others back by no more than the chunks on chip."""
    rng = random.Random(f"fan {pair}")
    source = StreamSource(dut, "i", pair[0], seed=1)
    patterns = [pair[1], "always", pair[1], "half"]
    rng.shuffle(patterns)
    sinks = [StreamSink(dut, f"o__{index}", pattern, seed=index) for index, pattern in enumerate(patterns)]
    for name in ("i", *(f"o__{index}" for index in range(OUTPUTS))):
        StreamChecker(dut, name)
    await start(dut)
    chunks = []
    for _ in range(4):
        job = random_job(rng)
        chunks += [chunk_bits(job, chunk) for chunk in job.chunks()]
    source.push(chunks)
    while not all(len(sink.received) == len(chunks) for sink in sinks):
        await RisingEdge(dut.clk)
        taken = [len(sink.received) for sink in sinks]
        # An offer that not all took may be with some already.
        assert max(taken) - min(taken) <= CHUNKS + 1
    for _ in range(10):
        await RisingEdge(dut.clk)
    assert all(sink.received == chunks for sink in sinks)


# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=2, timeout_unit="ms")

if os.environ["OLIVINE_UNIT"] == "walk":
    walks_any_job = test(cocotb.parametrize(pair=PAIRS[::2])(walks_any_job))
    walks_each_kind = test(cocotb.parametrize(seed=range(2))(walks_each_kind))
    walks_large_jobs = test(cocotb.parametrize(seed=range(8))(walks_large_jobs))
    does_not_wrap_around = test(does_not_wrap_around)
    keys_end_within_a_chunk = test(keys_end_within_a_chunk)
    in_its_time = test(in_its_time)
    spoils_one_field = test(spoils_one_field)
    names_the_first = test(names_the_first)
    stops_at_a_crooked_base = test(cocotb.parametrize(seed=range(16))(stops_at_a_crooked_base))
elif os.environ["OLIVINE_UNIT"] == "elements":
    regroups = test(cocotb.parametrize(pair=PAIRS[::2])(regroups))
    regroups_at_full_speed = test(regroups_at_full_speed)
else:
    gives_to_all = test(cocotb.parametrize(pair=PAIRS[::3])(gives_to_all))
