"""The attention job: a 256-bit descriptor, and the table in memory that lists what it attends to.

A job has one or more *groups*. A group is one KV head of one sequence: its query rows, and the pages
of its keys and values. All groups of a job share head dimension, formats and mask.

**Rows.** A group's rows are its query tokens times the query heads that share the KV head:
``row = token * heads + head``. Row r of P*C consecutive rows share one pass over the pages (a chunk).

Memory layouts (B = bus bytes, P = rows, L = lanes, d = head dimension):

query and output
    ``[row group][dim][P]``, int8 or int16 containers; where fewer than P rows exist only those are
    stored. Aligned to their container. A `CachedGroup` may lie in the rows of a batch instead, see there.
page
    L keys of one KV head: the keys, then the values, aligned to the bus. Page j of a group lies at
    ``bases[j] + page_offset`` and holds its keys j*L to j*L + L - 1.

    keys: ``[L/B][d][B keys]`` bytes in 8 bit, ``[L/B][d/2][B keys]`` in 4 bit (a byte holds two consecutive
    dims of one key, the first in the high nibble).

    values: for each L dims in turn, ``[L keys][those dims]`` in 8 bit; in 4 bit a byte holds two
    consecutive dims of one key. Each key takes whole beats (the last dims may be padded).
table
    `AttentionGroup` entries, 64 bytes each, one after the other, aligned to 64 bytes.
bases
    A group's list of block bases: 8 bytes each, little-endian, aligned to 8 bytes.
log-sum-exp
    ``[row]`` int32, aligned to 4 bytes: binary logarithm, 8 fractional bits.
partial results (instead of the output, in its place; a merge job's bases name such regions)
    ``[row group][3 + 3 d][P]`` int16: the words m, l low, l high of the group's rows, then for each
    dim O bits 0..15, 16..31 and 32..39 (sign-extended).
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from ..olive.formats import LaneFormat

__all__ = ["OPCODE_ATTENTION", "OPCODE_MERGE", "OPCODE_SCORE", "ENTRY_BYTES", "BASE_BYTES", "SEGMENT_BYTES", "SEGMENTS",
           "OutputFormat", "AttentionDescriptor", "AttentionGroup", "CachedGroup", "Segment", "FIELDS", "GROUP_FIELDS",
           "CACHED_FIELDS", "SEGMENT_FIELDS", "HEAD_DIM_STEP", "PARTIAL_HEADER", "PARTIAL_PLANES",
           "PLAIN_SHIFT", "partial_words"]

OPCODE_ATTENTION = 2
OPCODE_MERGE = 3
OPCODE_SCORE = 6
"""Opcodes: attend; merge partial results of the same rows over different keys; add the probabilities that rows give
to heavy-hitter keys to the keys' sums, from the log-sum-exp that an attention job wrote."""

ENTRY_BYTES = 64
BASE_BYTES = 8
HEAD_DIM_STEP = 8
PARTIAL_HEADER, PARTIAL_PLANES = 3, 3
"""P-wide int16 words of a partial result: before its dims, and for each dim."""

PLAIN_SHIFT = 25
"""``o_shift`` that, with an ``o_mult`` of 0 (which stands for 2**16), gives O at 7 fractional bits."""


class OutputFormat(enum.Enum, shape=2):
    """What a job writes for each row and dim: three integer formats, or partial results for merging."""

    INT8 = 0
    INT12 = 1
    INT16 = 2
    PARTIAL = 3

    @property
    def bits(self):
        return (8, 12, 16, 40)[self.value]

    @property
    def bytes(self):
        """Bytes of one row and dim."""
        return (1, 2, 2, 6)[self.value]


AttentionDescriptor = data.StructLayout({
    "opcode": unsigned(8),
    "key_format": LaneFormat,
    "value_format": LaneFormat,
    "q_format": unsigned(2),    # RowFormat, INT16 not allowed
    "o_format": unsigned(2),    # OutputFormat
    "causal": unsigned(1),      # a query sees no key after its own position
    "lse": unsigned(1),         # write the log-sum-exp as well
    "head_dim": unsigned(9),    # multiple of 8
    "heads": unsigned(9),       # query heads that share the KV head
    "window": unsigned(20),     # a query sees the latest `window` positions up to its own; 0: no window
    "groups": unsigned(16),
    "table": unsigned(48),
    "cached": unsigned(1),      # the table holds `CachedGroup` entries: keys and values come from the cache
    "tree": unsigned(1),        # cached: rows see the step's places by a mask of 64 bits
    "cells": unsigned(1),       # cached: sequences of heavy hitters, seen by the positions of their cells
    "hitters": unsigned(1),     # cells: add up probabilities and drop keys; groups of P rows at most
    "reserved": unsigned(132),
})

AttentionGroup = data.StructLayout({
    "q": unsigned(48),
    "score_mult": unsigned(16),
    "o": unsigned(48),
    "o_mult": unsigned(16),     # 0 stands for 2**16
    "lse": unsigned(48),
    "score_shift": unsigned(6),
    "o_shift": unsigned(6),
    "zero_shift": unsigned(4),
    "bases": unsigned(48),
    "zero_bases": unsigned(16),
    "rows": unsigned(20),       # query tokens times heads
    "keys": unsigned(20),
    "zero_keys": unsigned(24),
    "position": signed(24),     # of the first query token; key j has position j
    "zero_position": unsigned(40),
    "page_offset": unsigned(32),  # added to every base: where layer and KV head lie in a block
    "zero_page": unsigned(32),
    "reserved": unsigned(64),
})
"""One group. Members named ``zero_*`` and ``reserved`` must be 0."""

CachedGroup = data.StructLayout({
    "q": unsigned(48),
    "score_mult": unsigned(16),
    "o": unsigned(48),
    "o_mult": unsigned(16),
    "lse": unsigned(48),
    "score_shift": unsigned(6),
    "o_shift": unsigned(6),
    "zero_shift": unsigned(4),
    "segments": unsigned(48),   # list of `Segment`s, aligned to their size
    "head": unsigned(16),       # layer * KV heads + KV head
    "rows": unsigned(20),
    "count": unsigned(8),       # segments, 1 to SEGMENTS; 1 for trees and cells
    "zero_rows": unsigned(36),
    "position": signed(24),     # of the first query token; of a tree the committed length
    "zero_position": unsigned(40),
    "tree": unsigned(48),       # ``[row]`` masks of 64 bits, aligned to 8 bytes; bit j: the place ``position + j``
    "zero_tree": unsigned(16),
    "batch": unsigned(1),       # queries and results lie in the rows of a batch; 0: the next three are 0
    "lane": unsigned(8),        # of the first token, below P
    "q_words": unsigned(16),    # from one row group of the batch to the next: of queries
    "o_words": unsigned(16),    # and of results
    "reserved": unsigned(23),
})
"""One group of a cached job: rows, and the segments of sequences that they see, each read once.

**Batch.** Tokens of any sequences lie side by side in the rows of a batch, ``[row group][channel][P]`` int16, P rows
always stored, a *word* being one channel of P rows and exactly a beat of the bus. With ``batch`` queries (int12) and
results (int12 or int16) of the group are some rows of a batch; ``q`` and ``o`` are the first word of the (first) query
head in the row group of the first token. Query head h has the words h * d to h * d + d - 1 from there on.

One query head (``heads`` 1)
    Token t is row t of the group. It lies in lane ``lane + t`` of the row group, or, with ``lane`` 0 and any number of
    tokens, in lane t % P of row group t // P.
Several
    One token, so ``rows`` = ``heads`` <= P. Query head h is row h of the group, in lane ``lane`` of its own words.

Of the results' words only these lanes are written. All else, the log-sum-exp too, is as without ``batch``.
"""

SEGMENT_BYTES = 32
SEGMENTS = 64

Segment = data.StructLayout({
    "slot": unsigned(16), "generation": unsigned(16),
    "first": unsigned(16),      # entry of the block table: the segment starts at position ``first * L``
    "zero_first": unsigned(16),
    "end": unsigned(20),        # position after its last; of cells: the number of cells ever used, this step's included
    "zero_end": unsigned(44),
    "rows": unsigned(64),       # bit r: rows r, 64 + r, ... of the group see the segment
    "reserved": unsigned(64),
})
"""Consecutive places of one sequence, and which rows see them. Causal and window masks go by position as well."""

assert AttentionDescriptor.size == 256 and AttentionGroup.size == 8 * ENTRY_BYTES, AttentionGroup.size

assert CachedGroup.size == 8 * ENTRY_BYTES and Segment.size == 8 * SEGMENT_BYTES

FIELDS = tuple(name for name, _ in AttentionDescriptor)
"""Field names in order; a status's ``detail`` for BAD_FIELD is the index into them."""

GROUP_FIELDS = tuple(name for name, _ in AttentionGroup)
CACHED_FIELDS = tuple(name for name, _ in CachedGroup)
SEGMENT_FIELDS = tuple(name for name, _ in Segment)
"""The same for entries of the table and BAD_ENTRY, and for segments and BAD_SEGMENT."""


def partial_words(head_dim):
    """P-wide int16 words of a row group's partial result."""
    return PARTIAL_HEADER + PARTIAL_PLANES * head_dim
