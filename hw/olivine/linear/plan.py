"""From descriptor to plan: which descriptors are legal, and the counts that every part of the engine needs."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import CHANNEL_RUN, GROUPS
from ..control.lifecycle import check_fields
from ..olive.formats import LaneFormat
from .descriptor import FIELDS, OPCODE_LINEAR, RECORD_BYTES, Group, LinearDescriptor, RowFormat

__all__ = ["ADDRESS_BITS", "SIZE_BITS", "address_bits", "parts_bits", "stride_bits", "plan_layout", "check", "Planner",
           "times"]

ADDRESS_BITS = 49
"""Width of address arithmetic: no sum of a legal descriptor's address and sizes wraps around, so a job
that runs off the end of the address space meets the guard."""

SIZE_BITS = 20
"""Width of a job's m, k and n."""


def stride_bits(config, index):
    """Width of the bytes of a row group of ``index`` bits of int16."""
    return index + config.rows.bit_length()


def parts_bits(size):
    """Width of the number of parts of ``size`` (a power of two) that m or n has."""
    return SIZE_BITS - exact_log2(size) + 1


def address_bits(config):
    """Width of a linear job's addresses: one step from the last address that there is does not wrap around, so the
    guard meets the first address past it."""
    return max(config.addr_width, stride_bits(config, SIZE_BITS)) + 1


def times(value, small):
    """``value * small`` by shifts and adds: ``small`` is a few bits and no multiplier is worth it."""
    return sum((Mux(small[bit], value << bit, 0) for bit in range(1, len(small))), Mux(small[0], value, 0))


def plan_layout(config):
    """What a job's parts share, constant while it runs.

    Counts are plain (1 means one). ``x_stride`` and ``y_stride`` are the bytes from one row group to
    the next; ``x_wide`` and ``y_wide`` say that containers have two bytes.
    """
    reduction = range(config.max_reduction + 1)
    return data.StructLayout({
        "int8": 1, "weight_format": LaneFormat,
        "grouped": 1, "group_shift": 6, "long_run": 1,
        "k": reduction, "runs": reduction, "run_steps": range(CHANNEL_RUN + 1),
        "last_run_steps": range(CHANNEL_RUN + 1),
        "panels": parts_bits(config.lanes), "last_lanes": range(config.lanes + 1),
        "panel_bytes": range(config.lanes * (2 * config.max_reduction + RECORD_BYTES)),
        "row_groups": parts_bits(config.rows), "last_rows": range(config.rows + 1),
        "x_wide": 1, "y_wide": 1, "y_format": RowFormat,
        "x": config.addr_width, "w": config.addr_width, "y": config.addr_width,
        "x_stride": stride_bits(config, config.max_reduction.bit_length()), "y_stride": stride_bits(config, SIZE_BITS),
    })


def check(config, job):
    """List of (field name, condition that makes it illegal), the first that holds being reported."""
    span = 48 - config.addr_width
    outside = (lambda address: address[config.addr_width:].any()) if span else (lambda address: Const(0, 1))
    bus_low = (config.bus_bytes - 1).bit_length()
    wide_x, wide_y = job.x_format != RowFormat.INT8.value, job.y_format != RowFormat.INT8.value
    return [
        ("opcode", job.opcode != OPCODE_LINEAR),
        ("x_format", job.x_format > RowFormat.INT12.value),
        ("y_format", job.y_format > RowFormat.INT16.value),
        ("group", job.group > Group.G128.value),
        ("group_shift", (job.group == Group.CHANNEL.value) & (job.group_shift != 0)),
        ("m", job.m == 0),
        ("k", (job.k == 0) | (job.k > config.max_reduction)),
        ("n", job.n == 0),
        ("x", outside(job.x) | (wide_x & job.x[0])),
        ("w", outside(job.w) | job.w[:bus_low].any()),
        ("y", outside(job.y) | (wide_y & job.y[0])),
        ("reserved", job.reserved != 0),
    ]


def _ceil(value, log2):
    return (value + ((1 << log2) - 1)) >> log2


def _last(value, log2):
    """Size of the last part when ``value`` >= 1 is cut into parts of 2**log2: 1 to 2**log2."""
    return (value - 1)[:log2] + 1


class Planner(wiring.Component):
    """Checks a descriptor and derives its plan.

    Members
    -------
    job : In(LinearDescriptor)
    bad : Out(1), field : Out(8)
        The descriptor is illegal; index of the offending field.
    plan : Out(plan_layout)

    Latency: 2 cycles for ``plan``, 1 for ``bad``, from a stable ``job``.
    """

    latency = 2

    def __init__(self, config):
        self.config = config
        super().__init__({"job": In(LinearDescriptor), "bad": Out(1), "field": Out(8),
                          "plan": Out(plan_layout(config))})

    def elaborate(self, platform):
        m = Module()
        config, job, plan = self.config, self.job, self.plan
        log_rows, log_lanes = config.rows.bit_length() - 1, config.lanes.bit_length() - 1
        log_run = [steps.bit_length() - 1 for steps in GROUPS]

        check_fields(m, check(config, job), FIELDS, self.bad, self.field)

        # Cycle 1: sizes of the pieces.
        int8, long_run, grouped = Signal(), Signal(), Signal()
        words, multipliers = Signal.like(plan.k), Signal.like(plan.runs)
        k, before, runs = Signal.like(plan.k), Signal.like(plan.k), Signal.like(plan.runs)
        m.d.comb += [
            int8.eq(job.weight_format == LaneFormat.INT8),
            long_run.eq(job.group != Group.G64.value), grouped.eq(job.group != Group.CHANNEL.value),
            k.eq(job.k), before.eq(k - 1), runs.eq(Mux(long_run, before[log_run[1]:], before[log_run[0]:]) + 1),
        ]
        m.d.sync += [
            words.eq(Mux(int8, k, _ceil(k, 1))), multipliers.eq(Mux(grouped, runs, 0)),
            plan.int8.eq(int8), plan.weight_format.eq(job.weight_format),
            plan.grouped.eq(grouped), plan.group_shift.eq(job.group_shift), plan.long_run.eq(long_run),
            plan.k.eq(k), plan.runs.eq(runs), plan.run_steps.eq(Mux(long_run, GROUPS[1], GROUPS[0])),
            plan.last_run_steps.eq(Mux(long_run, _last(k, log_run[1]), _last(k, log_run[0]))),
            plan.panels.eq(_ceil(job.n, log_lanes)), plan.last_lanes.eq(_last(job.n, log_lanes)),
            plan.row_groups.eq(_ceil(job.m, log_rows)), plan.last_rows.eq(_last(job.m, log_rows)),
            plan.x_wide.eq(job.x_format != RowFormat.INT8.value),
            plan.y_wide.eq(job.y_format != RowFormat.INT8.value), plan.y_format.eq(job.y_format),
            plan.x.eq(job.x), plan.w.eq(job.w), plan.y.eq(job.y),
            plan.x_stride.eq(k << log_rows << plan.x_wide), plan.y_stride.eq(job.n << log_rows << plan.y_wide),
            # Cycle 2: a panel is a record, the weights' words and the multipliers of L channels.
            plan.panel_bytes.eq((words + multipliers + RECORD_BYTES) << log_lanes),
        ]
        return m
