"""What the unit for heavy hitters and the rest of the attention engine say to each other.

A *group* is one KV head of one sequence, as everywhere. Groups are numbered modulo `GROUPS`; the cells of a group are
on chip in bank ``number % 2``.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data

from ...kvcache.descriptor import SLOT_BITS
from ..layout import CHUNKS, GROUPS
from ..plan import address_bits

__all__ = ["BANKS", "cell_group_layout", "cell_chunk_layout", "loaded_layout"]

BANKS = 2
"""Groups whose cells are on chip."""


def cell_group_layout(config):
    """One group of a job over cells, once, before its first chunk."""
    cells = range(config.cells + 1)
    return data.StructLayout({
        "slot": unsigned(SLOT_BITS),
        "record": address_bits(config),     # address of the head's record
        "log_cells": unsigned(4),   # cells of the record, binary logarithm: where its parts lie
        "before": cells,            # cells ever used before this step
        "tokens": cells,            # of this step
        "filled": cells,            # cells ever used, this step's included
        "length": unsigned(16),     # position of this step's first token
        "recent": unsigned(16),     # newest positions that are never dropped
        "drop": cells,              # how many cells to drop once the sums are complete
    })


def cell_chunk_layout(config):
    """One chunk of such a group."""
    return data.StructLayout({
        "bank": range(CHUNKS),      # of the chunk, as in the words of scores
        "first": 1, "last": 1,      # chunk of the group
        "contexts": range(config.contexts + 1), "last_rows": range(config.rows + 1),
        "lse": address_bits(config),        # SCORE: log-sum-exp of the chunk's rows, int32 [row]
    })


def loaded_layout(config):
    """What a bank holds: cells of group number ``group``, if ``valid``; the positions of the first ``cells`` of them
    can be asked for."""
    return data.StructLayout({"group": range(GROUPS), "valid": 1, "cells": range(config.cells + 1)})
