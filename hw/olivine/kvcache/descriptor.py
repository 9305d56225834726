"""The key-value cache's operations and what they answer, and what the host tells it about memory."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from ..olive.formats import LaneFormat

__all__ = ["OPCODE_CACHE", "GENERATION_BITS", "SLOT_BITS", "LENGTH_BITS", "TREE_PLACES", "FREE_CELL", "BLOCK_UNIT",
           "RECORD_BYTES", "CacheOp", "CachePolicy", "CacheStatus", "CacheCommand", "CacheAnswer", "CacheGeometry"]

OPCODE_CACHE = 5
"""Opcode of a `CacheCommand`."""

SLOT_BITS = 16
LENGTH_BITS = 20

TREE_PLACES = 64
"""Reserved places that a path through a token tree can name."""

FREE_CELL = 0xffff
"""What the table of positions holds for a cell without a token: the longest heavy-hitter sequence is as long."""

BLOCK_UNIT = 4096
"""Blocks start at multiples of this many bytes, and are multiples of it long."""

RECORD_BYTES = 8
"""Bytes for each cell of a heavy-hitter record, see `CacheGeometry`."""

GENERATION_BITS = 16
"""A handle is a sequence's slot and the slot's generation, which counts closed sequences and wraps."""


class CacheOp(enum.Enum, shape=3):
    """Operations on a sequence."""

    OPEN = 0
    APPEND = 1
    """Reserve places for the tokens of a step."""
    FORK = 2
    TRUNCATE = 3
    COMMIT = 4
    """End a step: keep reserved places, release the others."""
    CLOSE = 5
    SWAP_OUT = 6
    SWAP_IN = 7


class CachePolicy(enum.Enum, shape=2):
    """What a sequence forgets."""

    NONE = 0
    WINDOW = 1
    """Blocks whose places have all left the window."""
    HEAVY = 2
    """Keys with the smallest sums of probabilities, apart from the most recent ones."""


class CacheStatus(enum.Enum, shape=4):
    """An operation's answer. Anything but OK leaves everything as it was."""

    OK = 0
    NO_BLOCK = 1
    """Too few free blocks for the whole operation."""
    NO_SEQUENCE = 2
    """No slot is free for one more sequence, or the handle names a slot that does not exist or was not opened in
    this generation."""
    STALE_HANDLE = 3
    """The handle's sequence was closed: the slot is in another generation."""
    OVER_LENGTH = 4
    """The sequence would be longer than the configured largest length."""
    CROSSES_EVICTION = 5
    """The shorter sequence would need keys that its policy has already given up."""
    NOT_FORKABLE = 6
    """A heavy-hitter sequence cannot be shared: each would evict the other's keys."""
    BROKEN = 7
    """A step of this heavy-hitter sequence ended in a fault; it can only be closed."""
    NOTHING_RESERVED = 8
    """The operation ends a step, and none was begun."""
    RESERVED = 9
    """Not while places are reserved: commit first."""
    BAD_COUNT = 10
    """A number that is not allowed: of places, a length, a path, a policy's size, a window of host memory."""
    SWAPPED = 11
    """The contents are in host memory: swap in first."""
    NOT_SWAPPED = 12
    """The contents are not in host memory."""
    NOT_WRITTEN = 13
    """Places would become part of the sequence that not every layer and KV head has written."""
    FAULT = 14
    """Copying failed on the bus, or was refused by the windows."""


CacheCommand = data.StructLayout({
    "opcode": unsigned(8),
    "op": CacheOp,
    "policy": CachePolicy,              # OPEN
    "tree": unsigned(1),                # COMMIT: keep the places of ``path``, not the first ``count``
    "zero_op": unsigned(2),
    "slot": unsigned(SLOT_BITS),        # the handle; not looked at by OPEN
    "generation": unsigned(GENERATION_BITS),
    "count": unsigned(LENGTH_BITS),     # APPEND tokens, COMMIT places, TRUNCATE length, SWAP_OUT blocks of the window
    "size": unsigned(LENGTH_BITS),      # OPEN: window, or heavy
    "recent": unsigned(LENGTH_BITS),    # OPEN, heavy hitters
    "chunk": unsigned(LENGTH_BITS),     # OPEN, heavy hitters
    "path": unsigned(TREE_PLACES),      # COMMIT: bit j keeps reserved place j
    "host": unsigned(48),               # SWAP_OUT: where the window starts, a multiple of `BLOCK_UNIT`
    "reserved": unsigned(16),
})
"""An operation, as a job of 256 bits. Members that the operation does not use must be 0, but it does not look."""

assert CacheCommand.size == 256, CacheCommand.size

CacheAnswer = data.StructLayout({
    "status": CacheStatus,
    "slot": unsigned(SLOT_BITS), "generation": unsigned(GENERATION_BITS),   # OPEN, FORK: of the new sequence
    "address": unsigned(48),            # FAULT: where
})

CacheGeometry = data.StructLayout({
    "base": unsigned(48),           # of block 0, a multiple of BLOCK_UNIT
    "block_units": unsigned(16),    # bytes of a block, in BLOCK_UNITs
    "blocks": unsigned(17),         # of the pool, at most those configured
    "page_bytes": unsigned(24),     # from one page of a block to the next, a multiple of the bus's bytes
    "heads": unsigned(16),          # pages of a block: layers times KV heads
    "head_dim": unsigned(9), "key_format": LaneFormat, "value_format": LaneFormat,
    "records": unsigned(48),        # of heavy hitters, a multiple of BLOCK_UNIT
    "log_cells": unsigned(4),       # cells of each record, binary logarithm
})
"""Where the cache lies in memory, and what a block is. The host sets it before the first OPEN; it stays.

The page of head h (``layer * KV heads + KV head``) of block b lies at ``base + b * block_units * BLOCK_UNIT +
h * page_bytes``. The record of a heavy-hitter sequence in slot s and head h has ``N = 2**log_cells`` cells and lies at
``records + (s * heads + h) * N * RECORD_BYTES``: ``[N]`` sums (32 bits unsigned, 20 fractional), ``[N]`` positions
(16 bits, `FREE_CELL` for none), then the free cells below the highest ever used, ascending, 16 bits each.
"""
