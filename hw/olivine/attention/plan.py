"""From descriptor to plan: which attention jobs are legal, and the sizes that every part of the engine needs."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..control.lifecycle import check_fields
from ..kvcache.descriptor import CacheGeometry
from ..linear.descriptor import RowFormat
from ..linear.plan import ADDRESS_BITS, times
from ..olive.formats import LaneFormat
from .descriptor import (
    ENTRY_BYTES,
    FIELDS,
    HEAD_DIM_STEP,
    OPCODE_ATTENTION,
    OPCODE_MERGE,
    OPCODE_SCORE,
    PARTIAL_HEADER,
    PARTIAL_PLANES,
    AttentionDescriptor,
    OutputFormat,
)

__all__ = ["ADDRESS_BITS", "STRIDE_BITS", "times", "address_bits", "plan_layout", "check", "Planner",
           "address_outside"]

STRIDE_BITS = 24


def address_bits(config):
    """Width of address arithmetic. What a job's entries name begins inside the address space; it ends less than 2**32
    bytes later or is met, command by command in steps below that, by the guard before it gets there: so one bit more
    than an address has tells all that is outside."""
    return max(config.addr_width, 32) + 1


def plan_layout(config):
    """What a job's parts share, constant while it runs. Counts are plain (1 means one); ``*_stride`` are bytes
    from one full row group to the next."""
    dims, lanes = range(config.max_head_dim + 1), range(config.lanes + 1)
    beats = range(config.word_beats + 1)
    return data.StructLayout({
        "merge": 1, "cached": 1, "tree": 1, "cells": 1, "hitters": 1,
        "score": 1,                             # add to the sums of heavy hitters: keys only, and no results
        "key_format": LaneFormat, "value_format": LaneFormat, "key_int8": 1, "value_int8": 1,
        "q_wide": 1, "o_wide": 1, "o_format": OutputFormat, "partial": 1, "causal": 1, "lse": 1,
        "head_dim": dims, "heads": 9, "window": 20, "groups": 16, "table": address_bits(config),
        "contexts": range(config.contexts + 1),
        "key_words": dims,                      # of a tile of keys
        "passes": range(-(-config.max_head_dim // config.lanes) + 1),   # tiles of values of a page
        "last_dims": lanes,                     # of the last pass
        "value_beats": beats, "last_value_beats": beats,    # of one key, in all passes but the last, and in the last
        "part_words": 12,                       # of one row group of a partial result
        "q_stride": STRIDE_BITS, "o_stride": STRIDE_BITS, "part_stride": STRIDE_BITS,
    })


def address_outside(config, address):
    """1 where an address has bits beyond the configured address space."""
    return address[config.addr_width:].any() if config.addr_width < len(address) else Const(0, 1)


def check(config, job, geometry):
    """List of (field name, condition that makes it illegal), the first that holds being reported."""
    log_entry = ENTRY_BYTES.bit_length() - 1
    partial = job.o_format == OutputFormat.PARTIAL.value
    return [
        ("opcode", (job.opcode != OPCODE_ATTENTION) & (job.opcode != OPCODE_MERGE) & (job.opcode != OPCODE_SCORE)),
        ("key_format", job.cached & (job.key_format != geometry.key_format)),
        ("value_format", job.cached & (job.value_format != geometry.value_format)),
        ("q_format", job.q_format > RowFormat.INT12.value),
        ("lse", job.lse & partial),
        ("head_dim", (job.head_dim == 0) | job.head_dim[:HEAD_DIM_STEP.bit_length() - 1].any()
         | (job.head_dim > config.max_head_dim) | (job.cached & (job.head_dim != geometry.head_dim))),
        ("heads", job.heads == 0),
        ("groups", job.groups == 0),
        ("table", address_outside(config, job.table) | job.table[:log_entry].any()),
        ("cached", job.cached & (job.opcode == OPCODE_MERGE)),
        ("tree", job.tree & (~job.cached | job.cells)),
        ("cells", job.cells & ~job.cached),
        ("hitters", (job.hitters & ~job.cells) | ((job.opcode == OPCODE_SCORE) & ~job.hitters)
         | (job.hitters & (job.opcode == OPCODE_ATTENTION) & partial)),
        ("reserved", job.reserved != 0),
    ]


class Planner(wiring.Component):
    """Checks a descriptor and derives its plan.

    Members
    -------
    job : In(AttentionDescriptor), geometry : In(CacheGeometry)
    bad : Out(1), field : Out(8)
        The descriptor is illegal; index of the offending field.
    plan : Out(plan_layout)

    Latency: `latency` cycles for ``plan``, 1 for ``bad``, from a stable ``job``.
    """

    latency = 2

    def __init__(self, config):
        self.config = config
        super().__init__({"job": In(AttentionDescriptor), "geometry": In(CacheGeometry), "bad": Out(1), "field": Out(8),
                          "plan": Out(plan_layout(config))})

    def elaborate(self, platform):
        m = Module()
        config, job, plan = self.config, self.job, self.plan
        log_rows, log_lanes = config.rows.bit_length() - 1, config.lanes.bit_length() - 1

        check_fields(m, check(config, job, self.geometry), FIELDS, self.bad, self.field)

        dims = job.head_dim
        partial = job.o_format == OutputFormat.PARTIAL.value
        last_dims = (dims - 1)[:log_lanes] + 1
        passes = (dims + (config.lanes - 1)) >> log_lanes
        key_int8, value_int8 = job.key_format == LaneFormat.INT8, job.value_format == LaneFormat.INT8
        q_wide = job.q_format != RowFormat.INT8.value
        o_wide = job.o_format != OutputFormat.INT8.value

        def beats(dims):
            size = Mux(value_int8, dims, dims >> 1)
            return (size + (config.bus_bytes - 1)) >> (config.bus_bytes - 1).bit_length()

        # Cycle 1.
        part_words = Signal(12)
        m.d.sync += [
            plan.merge.eq(job.opcode == OPCODE_MERGE), plan.score.eq(job.opcode == OPCODE_SCORE),
            *(plan[name].eq(job[name]) for name in ("cached", "tree", "cells", "hitters")),
            plan.key_format.eq(job.key_format), plan.value_format.eq(job.value_format),
            plan.key_int8.eq(key_int8), plan.value_int8.eq(value_int8), plan.q_wide.eq(q_wide),
            plan.o_wide.eq(o_wide), plan.o_format.eq(job.o_format), plan.partial.eq(partial),
            plan.causal.eq(job.causal), plan.lse.eq(job.lse), plan.head_dim.eq(dims), plan.heads.eq(job.heads),
            plan.window.eq(job.window), plan.groups.eq(job.groups), plan.table.eq(job.table),
            plan.contexts.eq(sum(dims <= config.state_words // count for count in range(1, config.contexts + 1))),
            plan.key_words.eq(Mux(key_int8, dims, dims >> 1)), plan.passes.eq(passes), plan.last_dims.eq(last_dims),
            plan.value_beats.eq(beats(Const(config.lanes, log_lanes + 1))), plan.last_value_beats.eq(beats(last_dims)),
            part_words.eq(PARTIAL_HEADER + times(dims, Const(PARTIAL_PLANES))),
            plan.q_stride.eq(dims << log_rows << q_wide),
        ]
        # Cycle 2.
        part_stride = part_words << log_rows << 1
        m.d.sync += [
            plan.part_words.eq(part_words), plan.part_stride.eq(part_stride),
            plan.o_stride.eq(Mux(plan.partial, part_stride, plan.head_dim << log_rows << plan.o_wide)),
        ]
        return m
