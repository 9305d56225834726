"""Golden plan of an attention job: what is fetched and written, what the array does, in which order.

Everything is computed from the descriptor and the memory layouts (`olivine.attention.descriptor`) alone,
place by place: the gateware, which counts and adds as it goes, must arrive at the same sequences.
"""

from dataclasses import dataclass
from typing import NamedTuple

from olivine.attention.descriptor import (
    BASE_BYTES,
    ENTRY_BYTES,
    OPCODE_ATTENTION,
    OPCODE_MERGE,
    PARTIAL_HEADER,
    PARTIAL_PLANES,
    OutputFormat,
    partial_words,
)
from olivine.kvcache.page import key_bytes, value_blocks
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

from .attention import pages_seen, row_bounds

__all__ = ["Group", "Chunk", "Tile", "Step",
           "QueryBlock", "ResultBlock", "Part", "Job"]

CHUNKS = 2
"""Chunks on chip at a time."""


# --- Pieces of a job ----------------------------------------------------------------------------------

@dataclass(frozen=True)
class Group:
    """An entry of the table, and in ``listed`` the bases that its list holds: one a page, or one a part. ``batch``,
    ``lane``, ``q_words`` and ``o_words`` are those of a `CachedGroup`."""

    rows: int
    keys: int
    position: int = 0
    q: int = 0
    o: int = 0
    lse: int = 0
    bases: int = 0
    page_offset: int = 0
    score_mult: int = 1
    score_shift: int = 0
    o_mult: int = 0
    o_shift: int = 25
    listed: tuple = ()
    batch: bool = False
    lane: int = 0
    q_words: int = 0
    o_words: int = 0

    def entry(self):
        """Fields of the entry, as integers."""
        names = ("rows", "keys", "position", "q", "o", "lse", "bases", "page_offset", "score_mult", "score_shift",
                 "o_mult", "o_shift")
        zeros = ("zero_shift", "zero_bases", "zero_keys", "zero_position", "zero_page", "reserved")
        return {**{name: getattr(self, name) for name in names}, **dict.fromkeys(zeros, 0)}


class Chunk(NamedTuple):
    """Row groups that share a pass over the pages of their group."""

    number: int
    group: int
    first_row: int      # of the group's rows
    rows: tuple         # that each context holds
    first_page: int
    pages: int
    last_keys: int      # of the last page
    blank: bool         # no row sees a key: one page, that is not fetched
    lookahead: bool     # keys go a page ahead of values
    last: bool          # of the job
    q: int              # addresses of its first row
    o: int
    lse: int
    part: int           # how far it lies into each partial result, bytes

    @property
    def bank(self):
        return self.number % CHUNKS

    @property
    def contexts(self):
        return len(self.rows)

    def keys_of(self, page, lanes):
        """Keys of the chunk's page number ``page``."""
        return self.last_keys if page == self.pages - 1 else lanes


class Tile(NamedTuple):
    """Keys, or one pass's values, of one page."""

    chunk: Chunk
    page: int           # of the chunk's
    values: bool
    number: int         # pass
    keys: int
    last_pass: bool
    addr: int
    bytes: int


class QueryBlock(NamedTuple):
    """The queries of one context, or of one head of a token in a batch."""

    addr: int
    bytes: int
    stored: int         # rows in memory
    start: int          # first word in the query store
    turn: int = 0       # lane of its first row, minus that row's own, modulo P
    first_row: int = 0  # of the context
    rows: int = 0
    more: bool = False  # the context's next row follows


class ResultBlock(NamedTuple):
    """Contiguous results of one context, or in a batch of one head of a token: its log-sum-exp, or the dims of one
    pass."""

    addr: int
    bytes: int
    lse: bool
    header: bool
    last: bool          # of its chunk
    rows: int           # stored
    dims: int
    turn: int = 0       # as of `QueryBlock`
    again: bool = False     # the next block brings the next row of the same dims
    lanes: tuple = ()   # those written of each word, of a batch


class Part(NamedTuple):
    """The record of one context in one partial result."""

    addr: int
    bytes: int
    bank: int
    context: int
    rows: int
    first: bool
    final: bool
    address: int        # first word in the O memory


class Step(NamedTuple):
    """One step of the array, and its place in the job."""

    chunk: Chunk
    tile: int           # number of the tile, of all of the job
    values: bool
    page: int           # of the chunk's
    number: int         # pass
    context: int
    step: int
    steps: int          # of this tile and context
    word: int           # of the tile
    odd: bool           # second element of the word's bytes, second key of the word
    lanes: int          # keys of the page, or dims of the pass
    keys: int           # of the page
    unit: int           # page and context, of all of the job
    position: int       # of the page's first key
    query: int          # word in the query store
    address: int        # in the O memory, of the pass's first dim
    first_look: bool    # bytes are seen for the first time
    last_look: bool     # the word is needed no more
    last_pass: bool     # its probability is needed no more
    chunk_end: bool

    @property
    def first(self):
        return self.step == 0

    @property
    def last(self):
        return self.step == self.steps - 1

    @property
    def final_page(self):
        return self.page == self.chunk.pages - 1


def tile_order(pages, lookahead):
    """(whether of values, page) of a chunk's tiles: with lookahead a page's keys come before the values of the
    page before it."""
    for turn in range(pages + lookahead):
        if turn < pages:
            yield False, turn
        if turn >= lookahead:
            yield True, turn - lookahead


# --- The job ------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Job:
    """A legal attention or merge job on an accelerator."""

    config: object
    groups: tuple
    head_dim: int
    key_format: LaneFormat = LaneFormat.INT8
    value_format: LaneFormat = LaneFormat.INT8
    q_format: RowFormat = RowFormat.INT8
    o_format: OutputFormat = OutputFormat.INT16
    causal: bool = False
    lse: bool = False
    heads: int = 1
    window: int = 0
    merge: bool = False
    table: int = 0

    def fields(self):
        """The descriptor, field by field, as integers."""
        return {"opcode": OPCODE_MERGE if self.merge else OPCODE_ATTENTION, "key_format": self.key_format.value,
                "value_format": self.value_format.value, "q_format": self.q_format.value,
                "o_format": self.o_format.value, "causal": int(self.causal), "lse": int(self.lse),
                "head_dim": self.head_dim, "heads": self.heads, "window": self.window, "groups": len(self.groups),
                "table": self.table, "cached": 0, "tree": 0, "cells": 0, "hitters": 0, "reserved": 0}

    # Sizes.

    @property
    def contexts(self):
        return self.config.attention_contexts(self.head_dim)

    @property
    def chunk_rows(self):
        return self.config.rows * self.contexts

    @property
    def partial(self):
        return self.o_format is OutputFormat.PARTIAL

    @property
    def passes(self):
        """Dims of each pass over a page's values."""
        lanes = self.config.lanes
        return [min(lanes, self.head_dim - first) for first in range(0, self.head_dim, lanes)]

    @property
    def key_words(self):
        """Words of a tile of keys: a byte of each key."""
        return self.head_dim * self.key_format.bits // 8

    def _blocks(self):
        return value_blocks(self.config.lanes, self.config.bus_bytes, self.head_dim, self.value_format)

    def plan(self):
        """The numbers that the parts of the engine share, by the names of their plan."""
        rows, bus = self.config.rows, self.config.bus_bytes
        strides = {"q": rows * self.head_dim * self.q_format.bytes,
                   "part": rows * partial_words(self.head_dim) * 2}
        strides["o"] = strides["part"] if self.partial else rows * self.head_dim * self.o_format.bytes
        return {
            "merge": int(self.merge), **dict.fromkeys(("cached", "tree", "cells", "hitters", "score"), 0),
            "key_format": self.key_format, "value_format": self.value_format,
            "key_int8": int(self.key_format is LaneFormat.INT8),
            "value_int8": int(self.value_format is LaneFormat.INT8), "q_wide": int(self.q_format.bytes == 2),
            "o_wide": int(self.o_format is not OutputFormat.INT8), "o_format": self.o_format,
            "partial": int(self.partial), "causal": int(self.causal), "lse": int(self.lse),
            "head_dim": self.head_dim, "heads": self.heads, "window": self.window, "groups": len(self.groups),
            "table": self.table, "contexts": self.contexts, "chunk_rows": self.chunk_rows,
            "key_words": self.key_words, "passes": len(self.passes), "last_dims": self.passes[-1],
            "value_beats": -(-self.config.lanes * self.value_format.bits // (8 * bus)),
            "last_value_beats": self._blocks()[-1][1], "part_words": partial_words(self.head_dim),
            **{f"{name}_stride": size for name, size in strides.items()},
            **{f"{name}_chunk": size * self.contexts for name, size in strides.items()},
        }

    # Rows and the pages they see.

    def chunks(self):
        """Every `Chunk`, in order."""
        found = []
        for index, group in enumerate(self.groups):
            seen = [None] * -(-group.rows // self.chunk_rows) if self.merge else pages_seen(
                group.keys, group.rows, self.heads, self.causal, self.window, group.position, self.config.lanes,
                self.chunk_rows)
            for turn, pages in enumerate(seen):
                last = index == len(self.groups) - 1 and turn == len(seen) - 1
                found.append(self._chunk(len(found), index, turn * self.chunk_rows, pages, last))
        return found

    def _chunk(self, number, index, first_row, pages, last):
        group, size = self.groups[index], self.config.rows
        end = min(first_row + self.chunk_rows, group.rows)
        rows = tuple(min(size, end - row) for row in range(first_row, end, size))
        blank = not self.merge and pages.end == pages.first
        if self.merge:
            first_page, count, last_keys = 0, group.keys, 1
        else:
            first_page, count, last_keys = (0, 1, 1) if blank else (
                pages.first, pages.end - pages.first, pages.last_keys)
        part = first_row * partial_words(self.head_dim) * 2
        row_group = first_row // size * 2 * size
        # Only full row groups come before a chunk.
        return Chunk(number, index, first_row, rows, first_page, count, last_keys, blank,
                     2 * len(rows) <= self.config.contexts, last,
                     group.q + (row_group * group.q_words if group.batch else
                                first_row * self.head_dim * self.q_format.bytes),
                     group.o + (part if self.partial else row_group * group.o_words if group.batch else
                                first_row * self.head_dim * self.o_format.bytes),
                     group.lse + 4 * first_row, part)

    def bounds(self, chunk):
        """For each context and row the keys that it sees, (first, end), both 0 where there are none."""
        group = self.groups[chunk.group]
        low, high = row_bounds(group.keys, group.rows, self.heads, self.causal, self.window, group.position)

        def seen(row):
            if row >= group.rows:
                return 0, 0
            first, end = max(int(low[row]), 0), int(high[row])
            return (first, end) if end > first else (0, 0)

        return [[seen(chunk.first_row + context * self.config.rows + row) for row in range(self.config.rows)]
                for context in range(chunk.contexts)]

    # What crosses the bus.

    def table_commands(self):
        """(address, bytes) of every entry, and of what each chunk needs of its group's list."""
        chunks = self.chunks()
        for index, group in enumerate(self.groups):
            yield self.table + ENTRY_BYTES * index, ENTRY_BYTES
            for chunk in chunks:
                if chunk.group == index and not chunk.blank:
                    yield group.bases + BASE_BYTES * chunk.first_page, BASE_BYTES * chunk.pages

    def bases(self, chunk):
        """Bases of the pages, or parts, that a chunk meets."""
        return [] if chunk.blank else self.groups[chunk.group].listed[chunk.first_page:][:chunk.pages]

    def pages(self, chunk):
        """Fields of each page (or part) that a chunk meets; of a blank one, of the page that is not fetched."""
        lanes = self.config.lanes
        bases = self.bases(chunk) or [-self.groups[chunk.group].page_offset]
        return [{"addr": base + self.groups[chunk.group].page_offset, "keys": chunk.keys_of(number, lanes),
                 "position": (chunk.first_page + number) * lanes, "segment": 0} for number, base in enumerate(bases)]

    def query_blocks(self):
        """Every `QueryBlock`."""
        size = self.config.rows
        for chunk in self.chunks():
            group = self.groups[chunk.group]
            for context, rows in enumerate(chunk.rows):
                start = self._query(chunk, context, 0)
                if group.batch:
                    word = 2 * size
                    for row in range(rows if self.heads > 1 else 1):
                        addr = chunk.q + word * (context * group.q_words + row * self.head_dim)
                        yield QueryBlock(addr, self.head_dim * word, size, start, (group.lane - row) % size, row,
                                         1 if self.heads > 1 else rows, self.heads > 1 and row < rows - 1)
                    continue
                addr = chunk.q + context * self.config.rows * self.head_dim * self.q_format.bytes
                yield QueryBlock(addr, rows * self.head_dim * self.q_format.bytes, rows, start, rows=rows)

    def _query(self, chunk, context, dim):
        """A chunk's bank holds all of context 0, all of context 1, ..."""
        return chunk.bank * self.config.state_words + context * self.head_dim + dim

    def tiles(self):
        """Every `Tile`, in the order of use; of blank chunks there are none."""
        for chunk in self.chunks():
            if chunk.blank:
                continue
            for values, page in tile_order(chunk.pages, chunk.lookahead):
                yield from self._tiles(chunk, values, page)

    def _tiles(self, chunk, values, page):
        config, bus = self.config, self.config.bus_bytes
        keys = chunk.keys_of(page, config.lanes)
        addr = self.bases(chunk)[page] + self.groups[chunk.group].page_offset
        if not values:
            # [L/B][key_words][B keys], as far as there are keys.
            yield Tile(chunk, page, False, 0, keys, False, addr, -(-keys // bus) * self.key_words * bus)
            return
        addr += key_bytes(config.lanes, self.head_dim, self.key_format)
        for number, (_, beats) in enumerate(self._blocks()):
            yield Tile(chunk, page, True, number, keys, number == len(self._blocks()) - 1, addr, keys * beats * bus)
            addr += config.lanes * beats * bus

    def parts(self):
        """Every `Part` of a merge job: part by part, context by context."""
        words = partial_words(self.head_dim)
        for chunk in self.chunks():
            for index, base in enumerate(self.bases(chunk)):
                for context, rows in enumerate(chunk.rows):
                    first_row = chunk.first_row + context * self.config.rows
                    yield Part(base + self.groups[chunk.group].page_offset + first_row * words * 2, rows * words * 2,
                               chunk.bank, context, rows, index == 0, index == chunk.pages - 1,
                               context * self.head_dim)

    def result_blocks(self, chunk):
        """Every `ResultBlock` of a chunk. In a merge job all passes of a context follow each other."""
        places = [(number, context) for number in range(len(self.passes)) for context in range(chunk.contexts)]
        if self.merge:
            places.sort(key=lambda place: place[1])
        for number, context in places:
            group, rows = self.groups[chunk.group], chunk.rows[context]
            row = chunk.first_row + context * self.config.rows
            dims, before = self.passes[number], sum(self.passes[:number])
            last = (number, context) == places[-1]
            if self.partial:
                words = PARTIAL_PLANES * dims + (PARTIAL_HEADER if number == 0 else 0)
                first = PARTIAL_HEADER + PARTIAL_PLANES * before if number else 0
                yield ResultBlock(group.o + (row * partial_words(self.head_dim) + first * rows) * 2, words * rows * 2,
                                  False, number == 0, last, rows, dims)
                continue
            lse = self.lse and number == 0
            if group.batch:
                yield from self._batch_blocks(chunk, number, context, last and not lse)
            else:
                yield ResultBlock(group.o + (row * self.head_dim + before * rows) * self.o_format.bytes,
                                  dims * rows * self.o_format.bytes, False, False, last and not lse, rows, dims)
            if lse:
                yield ResultBlock(group.lse + 4 * row, 4 * rows, True, False, last, rows, dims)

    def _batch_blocks(self, chunk, number, context, last):
        """Those of one pass of a context: all rows at once, or a token's heads one after the other."""
        group, size, rows = self.groups[chunk.group], self.config.rows, chunk.rows[context]
        dims, before = self.passes[number], sum(self.passes[:number])
        first = chunk.o + 2 * size * (context * group.o_words + before)
        if self.heads == 1:
            yield ResultBlock(first, dims * 2 * size, False, False, last, size, dims, group.lane, False,
                              tuple(range(group.lane, group.lane + rows)))
            return
        for row in range(rows):
            yield ResultBlock(first + 2 * size * row * self.head_dim, dims * 2 * size, False, False,
                              last and row == rows - 1, size, dims, (group.lane - row) % size, row < rows - 1,
                              (group.lane,))

    # What the array does.

    def steps(self):
        """Every `Step`, in order."""
        tile = unit = 0
        for chunk in self.chunks():
            first_unit = unit
            for values, page in tile_order(chunk.pages, chunk.lookahead):
                for number in range(len(self.passes) if values else 1):
                    for context in range(chunk.contexts):
                        yield from self._steps(chunk, tile, values, page, number, context,
                                               first_unit + page * chunk.contexts + context)
                    tile += not chunk.blank
            unit += chunk.pages * chunk.contexts

    def _steps(self, chunk, tile, values, page, number, context, unit):
        keys = chunk.keys_of(page, self.config.lanes)
        steps = keys if values else self.head_dim
        pairs = (self.value_format if values else self.key_format) is not LaneFormat.INT8
        last_context, last_pass = context == chunk.contexts - 1, values and number == len(self.passes) - 1
        for step in range(steps):
            last, odd = step == steps - 1, pairs and step % 2 == 1
            yield Step(
                chunk, tile, values, page, number, context, step, steps, step // 2 if pairs else step, odd,
                self.passes[number] if values else keys, keys, unit, (chunk.first_page + page) * self.config.lanes,
                self._query(chunk, context, step), context * self.head_dim + number * self.config.lanes,
                # A byte of keys has two dims of one key, a byte of values two lanes of one step.
                context == 0 and not chunk.blank and (values or not odd),
                last_context and not chunk.blank and (not pairs or odd or last), last_pass,
                last and last_context and last_pass and page == chunk.pages - 1)
