"""From an append descriptor to its plan: what is legal, and the counts that every part of the engine needs."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...control.lifecycle import check_fields
from ...linear.descriptor import RowFormat
from ...linear.plan import times
from ...olive.formats import LaneFormat
from ..addresses import address_bits
from ..descriptor import CacheGeometry
from .descriptor import FIELDS, OPCODE_APPEND, AppendDescriptor, AppendScales

__all__ = ["scales_layout", "plan_layout", "check", "Planner"]

scales_layout = data.StructLayout({name: field.shape for name, field in AppendScales if not name.startswith("zero")})
"""Of an entry of the scales what is not always 0."""


def plan_layout(config):
    """What the parts of an append job share, constant while it runs.

    Counts are plain (1 means one). A *step* is one head of one row group. ``key_beats`` are the beats of a sub-block's
    keys. A key's values are ``full_blocks`` blocks of ``full_beats`` beats, and a last one of ``last_bytes`` in
    ``last_beats``, if those are not 0.
    """
    row_count, address = range(config.rows + 1), address_bits(config)
    head = range(2 * config.rows * config.max_head_dim + 1)
    return data.StructLayout({
        "wide": 1, "rows": range(config.chunk_rows + 1), "groups": range(config.contexts + 1), "last_rows": row_count,
        "heads": 9, "first_head": 16,
        "keys": address, "values": address, "table": address, "scales": address,
        "full": 1,                          # P rows are stored in the last row group, too
        "channels": 16, "dims": range(config.max_head_dim + 1),
        "head_bytes": head, "last_head_bytes": head,    # bytes of a head in a full row group, and in the last
        "pairs": range(config.max_head_dim // 2 + 1),   # of dims
        "key_format": LaneFormat, "value_format": LaneFormat,
        "key_beats": range(config.max_head_dim + 1),
        "full_blocks": range(config.max_head_dim // config.lanes + 1), "full_beats": range(config.word_beats + 1),
        "last_beats": range(config.word_beats + 1), "last_bytes": range(config.lanes + 1),
    })


def check(config, job, geometry):
    """List of (field name, condition that makes it illegal), the first that holds being reported."""
    def outside(address):
        return address[config.addr_width:].any()

    wide = job.format != RowFormat.INT8.value
    return [
        ("opcode", job.opcode != OPCODE_APPEND),
        ("format", job.format > RowFormat.INT16.value),
        ("heads", job.heads == 0),
        ("first_head", job.first_head + job.heads > geometry.heads),
        ("rows", (job.rows == 0) | (job.rows > config.chunk_rows)),
        ("keys", outside(job.keys) | (wide & job.keys[0])),
        ("values", outside(job.values) | (wide & job.values[0])),
        ("table", outside(job.table) | job.table[:3].any()),
        ("scales", outside(job.scales) | job.scales[:3].any()),
    ]


class Planner(wiring.Component):
    """Checks a descriptor and derives its plan.

    Members
    -------
    job : In(AppendDescriptor), geometry : In(CacheGeometry)
        The geometry is legal: whoever lets the host set it sees to that.
    bad : Out(1), field : Out(8)
        The descriptor is illegal; index of the offending field.
    plan : Out(plan_layout)

    Latency: 1 cycle from a stable ``job``. Products of wide numbers are for the parts to make, step by step.
    """

    latency = 1

    def __init__(self, config):
        self.config = config
        super().__init__({"job": In(AppendDescriptor), "geometry": In(CacheGeometry), "bad": Out(1), "field": Out(8),
                          "plan": Out(plan_layout(config))})

    def elaborate(self, platform):
        m = Module()
        config, job, geometry, plan = self.config, self.job, self.geometry, self.plan
        log_rows, log_lanes = config.rows.bit_length() - 1, config.lanes.bit_length() - 1
        log_bus = config.bus_bytes.bit_length() - 1
        check_fields(m, check(config, job, geometry), FIELDS, self.bad, self.field)

        dims, wide = geometry.head_dim, job.format != RowFormat.INT8.value
        key8, value8 = (fmt == LaneFormat.INT8 for fmt in (geometry.key_format, geometry.value_format))
        rest = dims[:log_lanes]
        last_rows = Signal.like(plan.last_rows)
        last_bytes = Signal.like(plan.last_bytes)
        last_stored = Mux(job.full, config.rows, last_rows)
        m.d.comb += [last_rows.eq((job.rows - 1)[:log_rows] + 1), last_bytes.eq(Mux(value8, rest, rest >> 1))]
        m.d.sync += [
            plan.wide.eq(wide), plan.rows.eq(job.rows), plan.groups.eq((job.rows + (config.rows - 1)) >> log_rows),
            plan.last_rows.eq(last_rows), plan.heads.eq(job.heads), plan.first_head.eq(job.first_head),
            plan.keys.eq(job.keys), plan.values.eq(job.values), plan.table.eq(job.table), plan.scales.eq(job.scales),
            plan.channels.eq(job.channels), plan.dims.eq(dims),
            plan.head_bytes.eq(dims << log_rows << wide), plan.last_head_bytes.eq(times(dims, last_stored) << wide),
            plan.full.eq(job.full), plan.pairs.eq(dims >> 1), plan.key_format.eq(geometry.key_format),
            plan.value_format.eq(geometry.value_format), plan.key_beats.eq(Mux(key8, dims, dims >> 1)),
            plan.full_blocks.eq(dims >> log_lanes),
            plan.full_beats.eq(Mux(value8, config.word_beats, config.word_beats // 2)),
            plan.last_bytes.eq(last_bytes), plan.last_beats.eq((last_bytes + (config.bus_bytes - 1)) >> log_bus),
        ]
        return m
