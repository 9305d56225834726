"""What a job over the cache may hold: the first illegal field of its descriptor, of an entry of its table or of a
segment, by name."""

from olivine.attention.descriptor import (
    ENTRY_BYTES,
    HEAD_DIM_STEP,
    OPCODE_ATTENTION,
    OPCODE_SCORE,
    SEGMENT_BYTES,
    SEGMENTS,
    OutputFormat,
)
from olivine.kvcache.descriptor import CachePolicy, CacheStatus
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

__all__ = ["MASK_BYTES", "illegal_cached_field", "illegal_cached_entry", "illegal_segment", "readable"]

MASK_BYTES = 8
"""Bytes of a row's mask of a tree."""


def _address(config, value, alignment):
    return value < 1 << config.addr_width and value % alignment == 0


def _first(legal):
    return next((name for name, fine in legal.items() if not fine), None)


def illegal_cached_field(config, geometry, fields):
    """Name of the first illegal field of the `AttentionDescriptor` of a cached or score job, or None.

    Parameters
    ----------
    config : AcceleratorConfig
    geometry : dict
        Every field of `CacheGeometry`.
    fields : dict of str to int
        Every field of the descriptor, as integers.
    """
    score, partial = fields["opcode"] == OPCODE_SCORE, fields["o_format"] == OutputFormat.PARTIAL.value
    return _first({
        "opcode": fields["opcode"] in (OPCODE_ATTENTION, OPCODE_SCORE),
        "key_format": fields["key_format"] == LaneFormat(geometry["key_format"]).value,
        "value_format": fields["value_format"] == LaneFormat(geometry["value_format"]).value,
        "q_format": fields["q_format"] in (RowFormat.INT8.value, RowFormat.INT12.value),
        "lse": not (fields["lse"] and partial),
        "head_dim": fields["head_dim"] == geometry["head_dim"]
        and fields["head_dim"] in range(HEAD_DIM_STEP, config.max_head_dim + 1, HEAD_DIM_STEP),
        "heads": fields["heads"] >= 1,
        "groups": fields["groups"] >= 1,
        "table": _address(config, fields["table"], ENTRY_BYTES),
        "tree": not fields["tree"] or fields["cached"] and not fields["cells"],
        "cells": not fields["cells"] or fields["cached"],
        "hitters": fields["cells"] and (score or not partial) if fields["hitters"] else not score,
        "reserved": fields["reserved"] == 0,
    })


def illegal_cached_entry(config, geometry, fields, entry):
    """Name of the first illegal field of a `CachedGroup` of a job with descriptor ``fields``, or None."""
    score = fields["opcode"] == OPCODE_SCORE
    o_bytes = 1 if fields["o_format"] == OutputFormat.INT8.value else 2
    single = fields["tree"] or fields["cells"]
    q_format, batch = RowFormat(fields["q_format"]), entry["batch"]
    word = 2 * config.rows
    several = fields["heads"] > 1
    return _first({
        "q": _address(config, entry["q"], word if batch else q_format.bytes),
        "o": _address(config, entry["o"], word if batch else o_bytes),
        "lse": not (fields["lse"] or score) or _address(config, entry["lse"], 4),
        "zero_shift": entry["zero_shift"] == 0,
        "segments": _address(config, entry["segments"], SEGMENT_BYTES),
        "head": entry["head"] < geometry["heads"],
        # The scores of a decode step wait on chip for their log-sum-exp: one row group.
        # The heads of a token in a batch become rows side by side: one row group, too.
        "rows": 1 <= entry["rows"] and (not fields["hitters"] or score or entry["rows"] <= config.rows)
        and not (batch and several and not entry["rows"] == fields["heads"] <= config.rows),
        "count": entry["count"] == 1 if single else 1 <= entry["count"] <= SEGMENTS,
        "zero_rows": entry["zero_rows"] == 0,
        "zero_position": entry["zero_position"] == 0,
        "tree": not fields["tree"] or _address(config, entry["tree"], MASK_BYTES),
        "zero_tree": entry["zero_tree"] == 0,
        "batch": not batch or word == config.bus_bytes and q_format is RowFormat.INT12
        and OutputFormat(fields["o_format"]) in (OutputFormat.INT12, OutputFormat.INT16),
        "lane": _good_lane(config, entry, several) if batch else entry["lane"] == 0,
        "q_words": batch or entry["q_words"] == 0,
        "o_words": batch or entry["o_words"] == 0,
        "reserved": entry["reserved"] == 0,
    })


def _good_lane(config, entry, several):
    """Whether a group's rows fit behind their first lane: within a row group, or from its first lane on."""
    lane = entry["lane"]
    return lane < config.rows and (several or lane == 0 or lane + entry["rows"] <= config.rows)


def readable(answer, head):
    """Positions of a sequence that can be attended to in a head: the committed ones, and once all of this step's are
    written in this head, these too."""
    return answer["length"] + (answer["reserved"] if answer["appended"] > head else 0)


def _good_end(fields, head, end, answer):
    """Whether all that a segment names is there.

    Cells are the record's and the step's tokens in its free cells, so the tokens must be written and the record not
    yet changed by them. Sums grow head by head.
    """
    heavy = answer["policy"] is CachePolicy.HEAVY
    if not fields["cells"]:
        return not heavy and 1 <= end <= readable(answer, head)
    summed = answer["summed"] == head if fields["hitters"] else answer["summed"] <= head
    return heavy and 1 <= end == answer["filled"] and answer["appended"] > head and summed


def illegal_segment(config, fields, head, segment, answer):
    """Name of the first illegal field of a `Segment`, or None.

    ``answer`` is what the cache says of its handle, a dict of the members of `LookupAnswer`. That the table has all
    pages that are met is looked at page by page, and is the field ``first`` as well.
    """
    status, end = answer["status"], segment["end"]
    starts_late = end and segment["first"] * config.lanes >= end
    return _first({
        "slot": status is not CacheStatus.NO_SEQUENCE,
        "generation": status is CacheStatus.OK,
        "first": not starts_late and not (fields["cells"] and segment["first"]),
        "zero_first": segment["zero_first"] == 0,
        "end": _good_end(fields, head, end, answer),
        "zero_end": segment["zero_end"] == 0,
        "reserved": segment["reserved"] == 0,
    })
