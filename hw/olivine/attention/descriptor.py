"""The attention job: a 256-bit descriptor, and the table in memory that lists what it attends to.

A job has one or more *groups*. A group is one KV head of one sequence: its query rows, and the pages
of its keys and values. All groups of a job share head dimension, formats and mask.

**Rows.** A group's rows are its query tokens times the query heads that share the KV head:
``row = token * heads + head``. Row r of P*C consecutive rows share one pass over the pages (a chunk).

Memory layouts (B = bus bytes, P = rows, L = lanes, d = head dimension):

query and output
    ``[row group][dim][P]``, int8 or int16 containers; where fewer than P rows exist only those are
    stored. Aligned to their container.
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

__all__ = ["OPCODE_ATTENTION", "OPCODE_MERGE", "ENTRY_BYTES", "BASE_BYTES", "OutputFormat", "AttentionDescriptor",
           "AttentionGroup", "FIELDS", "GROUP_FIELDS", "HEAD_DIM_STEP", "PARTIAL_HEADER", "PARTIAL_PLANES",
           "PLAIN_SHIFT", "key_bytes", "value_blocks", "page_bytes", "partial_words"]

OPCODE_ATTENTION = 2
OPCODE_MERGE = 3
"""Opcodes: attend; merge partial results of the same rows over different keys."""

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
    "reserved": unsigned(136),
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

assert AttentionDescriptor.size == 256 and AttentionGroup.size == 8 * ENTRY_BYTES, AttentionGroup.size

FIELDS = tuple(name for name, _ in AttentionDescriptor)
"""Field names in order; a status's ``detail`` for BAD_FIELD is the index into them."""

GROUP_FIELDS = tuple(name for name, _ in AttentionGroup)
"""The same for an entry of the table and BAD_ENTRY."""


def key_bytes(lanes, head_dim, key_format):
    """Bytes of a page's keys; its values follow."""
    return lanes * head_dim * key_format.bits // 8


def value_blocks(lanes, bus_bytes, head_dim, value_format):
    """``[(dims, beats of one key)]`` of each block of up to L dims of a page's values."""
    blocks = []
    for first in range(0, head_dim, lanes):
        dims = min(lanes, head_dim - first)
        blocks.append((dims, -(-dims * value_format.bits // (8 * bus_bytes))))
    return blocks


def page_bytes(lanes, bus_bytes, head_dim, key_format, value_format):
    """Bytes of a page, keys and values."""
    values = sum(beats for _, beats in value_blocks(lanes, bus_bytes, head_dim, value_format))
    return key_bytes(lanes, head_dim, key_format) + lanes * bus_bytes * values


def partial_words(head_dim):
    """P-wide int16 words of a row group's partial result."""
    return PARTIAL_HEADER + PARTIAL_PLANES * head_dim
