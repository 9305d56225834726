"""The append job: rows of keys and values, from memory into the pages of their sequences.

A job writes one layer's keys and values of up to P * C rows (tokens, of any sequences), all its KV heads. Memory:

keys and values (source)
    ``[row group][channel][P]`` in int8 or int16 containers, as a linear layer writes its output; channel
    ``head * d + dim``. Where fewer than P rows exist only those are stored, unless the source is ``full``. The heads
    may be a part of more ``channels``, beginning at the address; then ``full``, or all row groups have as many rows.
rows
    `AppendRow` entries, 8 bytes each: the place of each row.
scales
    `AppendScales` entries, 8 bytes for each KV head of the job.

For each value ``x``: ``sat8(rsh(x * mult, shift))`` in int8; in a 4-bit format the pair of two consecutive dims
``rsh(x * mult, shift)``, in half units and saturated to 16 bits, goes through `olivine.olive.encoder.PairEncoder`.

A row's place is ``length + offset`` of its sequence, in a heavy-hitter sequence the cell that is ``offset``-th among
the free ones. Keys go first, then values; a head counts as appended when the responses of both are in.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data

from ..descriptor import GENERATION_BITS, SLOT_BITS

__all__ = ["OPCODE_APPEND", "ROW_BYTES", "SCALES_BYTES", "AppendDescriptor", "AppendRow", "AppendScales", "FIELDS",
           "ROW_FIELDS"]

OPCODE_APPEND = 4
ROW_BYTES = 8
SCALES_BYTES = 8

AppendDescriptor = data.StructLayout({
    "opcode": unsigned(8),
    "format": unsigned(2),          # RowFormat of the source
    "heads": unsigned(9),           # KV heads of the layer
    "first_head": unsigned(16),     # layer * KV heads
    "rows": unsigned(12),           # 1 to P * C
    "keys": unsigned(48),
    "values": unsigned(48),
    "table": unsigned(48),          # rows, aligned to 8 bytes
    "scales": unsigned(48),         # aligned to 8 bytes
    "channels": unsigned(16),       # of a row group of the source; 0: heads * d
    "full": unsigned(1),            # the last row group has P rows too, of which ``rows`` says how many mean something
})
"""Head dimension and formats of keys and values are the cache's (`CacheGeometry`)."""

AppendRow = data.StructLayout({
    "slot": unsigned(SLOT_BITS), "generation": unsigned(GENERATION_BITS),
    "offset": unsigned(20),         # among the reserved places; rows of a sequence follow each other, offsets from 0 on
    "reserved": unsigned(12),
})

AppendScales = data.StructLayout({
    "key_mult": unsigned(16), "key_shift": unsigned(6), "zero_key": unsigned(10),
    "value_mult": unsigned(16), "value_shift": unsigned(6), "zero_value": unsigned(10),
})

assert AppendDescriptor.size == 256 and AppendRow.size == 8 * ROW_BYTES and AppendScales.size == 8 * SCALES_BYTES

FIELDS = tuple(name for name, _ in AppendDescriptor)
ROW_FIELDS = tuple(name for name, _ in AppendRow)
"""Field names in order; a status's ``detail`` for BAD_FIELD and BAD_ROW is the index into them."""
