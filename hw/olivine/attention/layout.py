"""What the parts of the attention engine say to each other: sizes, and the tags that travel with words.

A *unit* is one page of keys met by one context (row group). Units are numbered in the order in which the
array takes them up; a unit's *slot* is that number modulo `slots`, and names its place in the small memories.
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from ..config import PROBABILITY_BITS
from ..kvcache.descriptor import TREE_PLACES
from .descriptor import SEGMENTS

__all__ = ["CHUNKS", "GROUPS", "SCORE_BITS", "MAXIMUM_BITS", "SUM_BITS", "O_BITS", "POSITION_BITS", "SHIFT_BITS",
           "FACTOR_BITS", "LSE_BITS", "score_tag", "merge_tag", "bounds_layout", "mask_address", "tree_address",
           "cell_address", "cell_position", "slots", "place_bits", "block_sum_bits", "factors_layout", "record_layout"]

CHUNKS = 2
"""Chunks whose parameters and queries are on chip: one at work, one being fetched. A chunk's *bank*."""

GROUPS = 4
"""Groups of heavy hitters in flight are told apart by their number modulo this: at most two are on chip, two more on
their way out. A group's cells are in bank ``number % 2``."""

SCORE_BITS = 16
MAXIMUM_BITS = 9
"""Integer maxima m: -128 to 128."""

SUM_BITS = 32
"""Running sum l of the probabilities, unsigned."""

O_BITS = 40
POSITION_BITS = 21
"""Positions of keys, signed: a bound may lie before the first key."""

SHIFT_BITS = 6
"""Right shifts of O and l; what would be more than 63 is 63: nothing is left in either case."""

FACTOR_BITS = 17
LSE_BITS = 18


def slots(config):
    """Units between their first score and their last use: the probabilities of C pages are on chip."""
    return config.contexts


def place_bits(config):
    """Of a place of a sequence, and of the number of all places."""
    return config.max_sequence.bit_length()


def block_sum_bits(config):
    """Width of l_b, the sum of one page's probabilities."""
    return (config.lanes * ((1 << PROBABILITY_BITS) - 1)).bit_length()


def score_tag(config):
    """Of a unit, from its scores to its running state."""
    return data.StructLayout({
        "bank": range(CHUNKS), "context": range(config.contexts), "slot": range(slots(config)),
        "first": 1,                             # first page of the chunk: the running state starts afresh
        "final": 1,                             # last page: the running state is complete
        "keys": range(config.lanes + 1),        # of the page that exist, at least 1
        "position": signed(POSITION_BITS),      # of the page's first key, or its first cell
        "segment": range(SEGMENTS), "group": range(GROUPS),
    })


def mask_address(config):
    """Of the rows, a bit each, of a context that see a segment."""
    return data.StructLayout({"context": range(config.contexts), "segment": range(SEGMENTS), "bank": range(CHUNKS)})


def tree_address(config):
    """Of the rows, a bit each, of a context that see a place of a token tree."""
    return data.StructLayout({"place": range(TREE_PLACES), "context": range(config.contexts), "bank": range(CHUNKS)})


def cell_address(config):
    """Of a cell of the group that is on chip in a bank."""
    return data.StructLayout({"bank": 1, "cell": range(config.cells)})


cell_position = data.StructLayout({"valid": 1, "position": 16})
"""The token in a cell, if there is one."""


def merge_tag(config):
    """Of a word of weighted values on its way into O."""
    return data.StructLayout({"bank": range(CHUNKS), "slot": range(slots(config)), "first": 1, "final": 1})


def bounds_layout(config):
    """For each row of a context the positions of the first key it sees and of the first it sees no more.

    Rows that hold no token see nothing (``high`` not above ``low``)."""
    return data.ArrayLayout(data.StructLayout({"low": signed(POSITION_BITS), "high": signed(POSITION_BITS)}),
                            config.rows)


def factors_layout(config):
    """What a unit's weighted values need, by row: shifts of the O so far (``old``) and of the page's own part
    (``new``)."""
    return data.ArrayLayout(data.StructLayout({"old": unsigned(SHIFT_BITS), "new": unsigned(SHIFT_BITS)}), config.rows)


def record_layout(config):
    """A context's complete running state, by row; exponent of l and the factor that divides by l and requantizes."""
    return data.ArrayLayout(data.StructLayout({
        "m": signed(MAXIMUM_BITS), "l": unsigned(SUM_BITS), "lse": signed(LSE_BITS), "exponent": unsigned(5),
        "factor": unsigned(FACTOR_BITS)}), config.rows)
