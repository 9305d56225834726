"""Random legal jobs for the testbenches of the attention engine's control units, and how those units see them.

Parameter: OLIVINE_CONFIG, the configuration's fields in JSON.
"""

import json
import os
import random
from dataclasses import replace

from amaranth.hdl import Shape
from cocotb.triggers import RisingEdge
from olivine.attention.descriptor import AttentionDescriptor, AttentionGroup, OutputFormat, partial_words
from olivine.attention.layout import GROUPS
from olivine.attention.plan import plan_layout
from olivine.attention.table import chunk_layout, page_layout
from olivine.config import AcceleratorConfig
from olivine.kvcache.page import page_bytes
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.attention_plan import Group, Job

from tb.streams import pack, start

__all__ = ["CONFIG", "ROWS", "LANES", "BUS", "random_job", "random_merge", "random_batch", "kinds_of_chunks",
           "descriptor", "entry_bits", "plan_bits", "chunk_fields", "chunk_bits", "page_bits", "unit_ports", "Fresh",
           "width"]

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))
ROWS, LANES, BUS = CONFIG.rows, CONFIG.lanes, CONFIG.bus_bytes

REGION = CONFIG.addr_width - 8
"""Address bits of one region of a random job: table, and each group's operands, lists and results."""


def _address(rng, region, alignment, size=0):
    """Anywhere in one of 256 regions, the last place as well as the first; region 0 ends the address space."""
    room = (1 << REGION) - size
    place = rng.choice((0, room - alignment, rng.randrange(room)))
    return (255 - region << REGION) + place // alignment * alignment


def random_job(rng: random.Random, *, groups=None, rows=None, keys=None, position=None, **fixed):
    """A legal attention job, ragged in every direction where nothing is fixed."""
    drawn = {
        "head_dim": 8 * rng.randint(1, CONFIG.max_head_dim // 8), "key_format": rng.choice(list(LaneFormat)),
        "value_format": rng.choice(list(LaneFormat)), "q_format": rng.choice([RowFormat.INT8, RowFormat.INT12]),
        "o_format": rng.choice(list(OutputFormat)), "causal": rng.random() < 0.5,
        "heads": rng.choice((1, 1, 2, 3, ROWS, 2 * ROWS + 1)),
        "window": rng.choice((0, 0, 1, rng.randint(1, 4 * LANES))), **fixed,
    }
    drawn.setdefault("lse", drawn["o_format"] is not OutputFormat.PARTIAL and rng.random() < 0.5)
    chunk = ROWS * CONFIG.attention_contexts(drawn["head_dim"])
    made = []
    for index in range(groups or rng.randint(1, 3)):
        count = rows or rng.choice((1, rng.randint(1, ROWS + 1), rng.randint(1, 2 * chunk + ROWS)))
        length = keys or rng.choice((rng.randint(1, LANES), rng.randint(1, 5 * LANES), 2 * LANES))
        tokens = -(-count // drawn["heads"])
        place = position if position is not None else rng.choice(
            (length - tokens, length - tokens, rng.randint(-tokens - 3, length + 4 * LANES)))
        made.append(_group(rng, index, count, length, place, drawn, -(-length // LANES), page_bytes(
            LANES, BUS, drawn["head_dim"], drawn["key_format"], drawn["value_format"]), BUS))
    return Job(CONFIG, tuple(made), table=_address(rng, 0, 64, 64 * len(made)), **drawn)


def random_merge(rng, *, groups=None, rows=None, parts=None, **fixed):
    """A legal merge job; what it does not look at is anything."""
    drawn = {
        "head_dim": 8 * rng.randint(1, CONFIG.max_head_dim // 8), "o_format": rng.choice(list(OutputFormat)),
        "key_format": rng.choice(list(LaneFormat)), "value_format": rng.choice(list(LaneFormat)),
        "q_format": rng.choice([RowFormat.INT8, RowFormat.INT12]), "causal": rng.random() < 0.5,
        "heads": rng.randint(1, 3), "window": rng.choice((0, 5)), **fixed,
    }
    drawn.setdefault("lse", drawn["o_format"] is not OutputFormat.PARTIAL and rng.random() < 0.5)
    chunk = ROWS * CONFIG.attention_contexts(drawn["head_dim"])
    made = []
    for index in range(groups or rng.randint(1, 3)):
        count = rows or rng.choice((1, rng.randint(1, ROWS + 1), rng.randint(1, 2 * chunk + ROWS)))
        number = parts or rng.randint(1, 4)
        made.append(_group(rng, index, count, number, rng.randint(-20, 20), drawn, number,
                           2 * count * partial_words(drawn["head_dim"]), 2))
    return Job(CONFIG, tuple(made), table=_address(rng, 0, 64, 64 * len(made)), merge=True, **drawn)


def random_batch(rng, *, lanes=None, **fixed):
    """A legal attention job whose groups lie in a batch, or most of them. ``lanes``: of every group of one head, its
    first lane and its rows."""
    heads = rng.choice((1, 1, 2, ROWS)) if lanes is None else 1
    job = random_job(rng, **{"heads": heads, "q_format": RowFormat.INT12, "groups": rng.randint(1, 6),
                             "o_format": rng.choice((OutputFormat.INT12, OutputFormat.INT16)), **fixed})
    groups = []
    for index, group in enumerate(job.groups):
        lane, rows = lanes or (rng.choice((0, rng.randrange(ROWS))), group.rows)
        if job.heads > 1:
            rows = job.heads
        elif lane:
            rows = min(rows, ROWS - lane)
        if lanes is None and rng.random() < 0.2:
            groups.append(replace(group, rows=rows))
            continue
        # Two of the 256 regions each: row groups lie far apart.
        at = [64 + 4 * index, 65 + 4 * index]
        groups.append(replace(
            group, rows=rows, batch=True, lane=lane, q_words=rng.choice((0, job.head_dim, rng.getrandbits(16))),
            o_words=rng.choice((0, job.head_dim, rng.getrandbits(16))),
            **{name: (255 - region << REGION) + rng.randrange(1 << REGION) // BUS * BUS // 2 // BUS * BUS
               for name, region in zip("qo", at)}))
    return replace(job, groups=tuple(groups))


def _group(rng, index, rows, keys, position, drawn, listed, size, alignment):
    """``listed`` bases, of things of ``size`` bytes that are aligned with the offset added, not before it."""
    q_bytes = drawn["q_format"].bytes
    o_bytes = 1 if drawn["o_format"] is OutputFormat.INT8 else 2
    offset = rng.choice((0, rng.randrange(1 << 16), rng.getrandbits(32)))
    top = (1 << CONFIG.addr_width) - size - alignment
    bases = tuple(rng.choice((rng.randrange(top), top)) // alignment * alignment + -offset % alignment
                  for _ in range(listed))
    return Group(rows, keys, position, _address(rng, 64 + 4 * index, q_bytes), _address(rng, 65 + 4 * index, o_bytes),
                 _address(rng, 66 + 4 * index, 4), _address(rng, 67 + 4 * index, 8, 8 * listed), offset,
                 rng.getrandbits(16), rng.getrandbits(6), rng.getrandbits(16), rng.getrandbits(6), bases)


def kinds_of_chunks(rng, **fixed):
    """Jobs that together have every kind of chunk: blank ones, with lookahead and without, of several pages and
    passes, and with a last page that is short and full."""
    one = ROWS * CONFIG.contexts
    most = CONFIG.max_head_dim
    return [
        # Causal from far before the first key: the first chunks see nothing, the later ones do.
        random_job(rng, groups=1, rows=one + 2 * ROWS, keys=LANES + 1, position=-one, heads=1, causal=True,
                   window=0, head_dim=8, **fixed),
        # A window that has left all keys behind, in the first row already.
        random_job(rng, groups=2, rows=ROWS + 1, keys=3, position=4 * LANES, causal=True, window=2, head_dim=16,
                   **fixed),
        random_job(rng, groups=1, rows=1, keys=4 * LANES, causal=False, window=0, head_dim=most, **fixed),
        random_job(rng, groups=1, rows=one, keys=3 * LANES - 1, causal=True, window=0, heads=2 * ROWS + 1,
                   position=LANES, head_dim=most, **fixed),
        random_job(rng, groups=2, rows=2 * ROWS - 1, keys=2 * LANES + 1, window=LANES // 2, heads=3, **fixed),
    ]


# --- As the units see them ----------------------------------------------------------------------------

def width(layout, name):
    return Shape.cast(layout[name].shape).width


def descriptor(values):
    """Bits of a descriptor from its fields."""
    return pack(AttentionDescriptor, values)


def entry_bits(values):
    """Bits of an entry from its fields."""
    return pack(AttentionGroup, values)


def plan_bits(job):
    layout = plan_layout(CONFIG)
    return pack(layout, {name: value for name, value in job.plan().items() if name in layout.members})


def chunk_fields(job, chunk):
    """A golden chunk by the names of the units' layout."""
    group = job.groups[chunk.group]
    return {"bank": chunk.bank, "contexts": chunk.contexts, "last_rows": chunk.rows[-1], "pages": chunk.pages,
            "blank": int(chunk.blank), "group": chunk.group % GROUPS,
            "lookahead": int(chunk.lookahead), "last": int(chunk.last), "q": chunk.q, "o": chunk.o, "lse": chunk.lse,
            "part": chunk.part, "batch": int(group.batch), "lane": group.lane, "q_words": group.q_words,
            "o_words": group.o_words}


def chunk_bits(job, chunk):
    return pack(chunk_layout(CONFIG), chunk_fields(job, chunk))


def page_bits(job, chunk):
    """Payloads of the pages of a chunk."""
    return [pack(page_layout(CONFIG), page) for page in job.pages(chunk)]


def unit_ports(unit, name):
    """Shape of a port of a component class, or of its payload where it is a stream."""
    member = unit(CONFIG).signature.members[name]
    return member.shape if member.is_port else member.signature.members["payload"].shape


class Fresh:
    """Begins one job after the other: a reset with each job's plan, as the engine does."""

    def __init__(self, dut):
        self.dut, self.started = dut, False
        dut.plan.value = 0

    async def __call__(self, job):
        self.dut.plan.value = plan_bits(job)
        if not self.started:
            self.started = True
            await start(self.dut)
            return
        self.dut.rst.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
