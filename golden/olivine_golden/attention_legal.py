"""What an attention job may hold: the first illegal field of its descriptor or of an entry of its table, by name."""

from olivine.attention.descriptor import (
    BASE_BYTES,
    ENTRY_BYTES,
    HEAD_DIM_STEP,
    OPCODE_ATTENTION,
    OPCODE_MERGE,
    OutputFormat,
)
from olivine.linear.descriptor import RowFormat

__all__ = ["illegal_field", "illegal_entry", "crooked_page", "crooked_part"]


def _address(config, value, alignment):
    return value < 1 << config.addr_width and value % alignment == 0


def illegal_field(config, fields):
    """Name of the first illegal field of an `AttentionDescriptor`, in its order, or None.

    Parameters
    ----------
    config : AcceleratorConfig
    fields : dict of str to int
        Every field, as integers.
    """
    legal = {
        "opcode": fields["opcode"] in (OPCODE_ATTENTION, OPCODE_MERGE),
        "q_format": fields["q_format"] in (RowFormat.INT8.value, RowFormat.INT12.value),
        "lse": not fields["lse"] or fields["o_format"] != OutputFormat.PARTIAL.value,
        "head_dim": fields["head_dim"] in range(HEAD_DIM_STEP, config.max_head_dim + 1, HEAD_DIM_STEP),
        "heads": fields["heads"] >= 1,
        "groups": fields["groups"] >= 1,
        "table": _address(config, fields["table"], ENTRY_BYTES),
        # Of a cached job, `olivine_golden.cached_legal` says what is legal.
        "tree": not fields["tree"], "cells": not fields["cells"], "hitters": not fields["hitters"],
        "reserved": fields["reserved"] == 0,
    }
    return next((name for name, fine in legal.items() if not fine), None)


def illegal_entry(config, fields, entry):
    """Name of the first illegal field of an `AttentionGroup` of a job with descriptor ``fields``, or None."""
    q_bytes = RowFormat(fields["q_format"]).bytes
    o_bytes = 1 if fields["o_format"] == OutputFormat.INT8.value else 2
    legal = {
        "q": fields["opcode"] == OPCODE_MERGE or _address(config, entry["q"], q_bytes),
        "o": _address(config, entry["o"], o_bytes),
        "lse": not fields["lse"] or _address(config, entry["lse"], 4),
        "zero_shift": entry["zero_shift"] == 0,
        "bases": _address(config, entry["bases"], BASE_BYTES),
        "zero_bases": entry["zero_bases"] == 0,
        "rows": entry["rows"] >= 1,
        "keys": 1 <= entry["keys"] <= config.max_sequence,
        "zero_keys": entry["zero_keys"] == 0,
        "zero_position": entry["zero_position"] == 0,
        "zero_page": entry["zero_page"] == 0,
        "reserved": entry["reserved"] == 0,
    }
    return next((name for name, fine in legal.items() if not fine), None)


def crooked_page(config, base, page_offset):
    """Whether a page's base, 64 bits of its group's list, cannot be one."""
    return base >= 1 << config.addr_width or (base + page_offset) % config.bus_bytes != 0


def crooked_part(config, base, offset):
    """Whether the base of a partial result cannot be one; ``offset`` is even where the result is."""
    return base >= 1 << config.addr_width or (base + offset) % 2 != 0
