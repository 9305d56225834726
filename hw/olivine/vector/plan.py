"""From a vector descriptor to its plan: what is legal, and the counts that every part of the engine needs."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..control.lifecycle import check_fields
from ..linear.descriptor import RowFormat
from .descriptor import (
    ADD_FIELDS,
    ENTRY_BYTES,
    FIELDS,
    FIELDS_OF,
    LARGEST_COUNT,
    NORM_FIELDS,
    OPCODE_VECTOR,
    Norm,
    VectorDescriptor,
    VectorOp,
)
from .formats import FUNCTION_FRACTION, MAX_CHANNELS, RECIPROCAL_SHIFT, Function

__all__ = ["size_bits", "address_bits", "plan_layout", "is_norm", "check", "Planner"]


def size_bits(config):
    """Of the bytes of a pass: of residuals of all channels that a descriptor can have, at most."""
    return VectorDescriptor["channels"].width + (2 * config.bus_bytes).bit_length()


def address_bits(config):
    """Of the addresses of a legal job: no sum of one and of the bytes of all passes wraps around, so that a job that
    runs off the end of the address space meets the guard."""
    return max(config.addr_width, size_bits(config) + config.contexts.bit_length()) + 1


def plan_layout(config):
    """What the parts of a vector job share, constant while it runs.

    Counts are plain (1 means one). A *pass* is a run of words, of a row group or, in ROTATE, of a head of one. ``two``:
    each row group has two, the first of which updates residuals or adds them up, the second makes rows of them;
    ``second``: only such second passes. ``reads_x``, ``reads_r``, ``writes`` and the sizes ``x_bytes``, ``r_bytes`` and
    ``w_bytes`` (written) are those of a first pass; a second one reads ``r_bytes`` and writes ``x_bytes``.

    The descriptor's numbers as flags, because much waits for them: ``op`` has a bit for each operation, ``normalises``
    is `is_norm` of RESIDUAL, ``centred`` that it is LAYER; ``takes_x``: a first pass has words of x, read by rows or
    gathered. Of the ``channels`` of a pass ``top`` is the last, and ``single`` says that there is no other.
    """
    size = unsigned(size_bits(config))
    return data.StructLayout({
        "job": VectorDescriptor, "two": 1, "second": 1, "last_rows": range(config.rows + 1),
        "op": data.StructLayout({op.name.lower(): 1 for op in VectorOp}), "normalises": 1, "centred": 1,
        "takes_x": 1, "single": 1, "top": VectorDescriptor["channels"].shape,
        "reads_x": 1, "reads_r": 1, "reads_t": 1, "writes": 1, "writes_r": 1,
        "heads": VectorDescriptor["heads"].shape, "x_bytes": size, "r_bytes": size, "t_bytes": size, "w_bytes": size,
    })


def is_norm(job):
    """Whether residuals are normalised."""
    return (job.norm == Norm.LAYER) | (job.norm == Norm.RMS)


def _used(job):
    """By field, whether the job uses it."""
    conditions = {name: [] for name in FIELDS}
    for op, names in FIELDS_OF.items():
        for name in names:
            conditions[name].append(job.op == op.value)
    residual = job.op == VectorOp.RESIDUAL.value
    for name in ADD_FIELDS:
        conditions[name].append(residual & job.add)
    for norm, names in NORM_FIELDS.items():
        for name in names:
            conditions[name].append(residual & (job.norm == norm))
    return {name: Cat(*some).any() if some else Const(0) for name, some in conditions.items()}


def check(config, job, op, used):
    """List of (field name, condition that makes it illegal), the first that holds being reported. ``op`` is the job's
    as in the plan, ``used`` as `_used` says."""
    low = (config.bus_bytes - 1).bit_length()
    residual, rotate, lanes = op.residual, op.rotate, op.lanes

    def misplaced(address):
        return address[config.addr_width:].any() | address[:low].any()

    illegal = {
        "norm": residual & ~job.add & (job.norm == Norm.NONE),
        "format": job.format > RowFormat.INT16.value,
        "function": job.function > max(function.value for function in Function),
        "fraction": op.activate & ((job.fraction < 8) | (job.fraction > FUNCTION_FRACTION)),
        "groups": (job.groups == 0) | (job.groups > config.contexts),
        "idle_rows": job.idle_rows >= config.rows,
        "channels": (job.channels == 0) | (residual & is_norm(job) & (job.channels > MAX_CHANNELS))
        | (rotate & (job.channels > config.max_head_dim)),
        "heads": rotate & (job.heads == 0),
        "pairs": rotate & ((job.pairs == 0) | (job.pairs << 1 > job.channels)),
        **{name: misplaced(job[name]) for name in ("x", "r", "t", "y")},
        "reciprocal": job.reciprocal > 1 << RECIPROCAL_SHIFT,
        "rotation": job.rotation >= config.rows,
        "first_lane": job.first_lane >= config.rows,
        "last_lane": lanes & ((job.last_lane >= config.rows) | (job.last_lane < job.first_lane)),
    }
    spoilt = [(name, (~used[name] & (job[name].as_value() if name == "norm" else job[name]).any())
               | illegal.get(name, 0)) for name in FIELDS[2:-1]]
    return [("opcode", job.opcode != OPCODE_VECTOR), ("op", job.op > max(op.value for op in VectorOp)),
            *spoilt, ("reserved", job.reserved != 0)]


class Planner(wiring.Component):
    """Checks a descriptor and derives its plan.

    Members
    -------
    offered : In(VectorDescriptor), take : In(1)
        The next job; it is at ``job`` from the next cycle on. What needs but a look at its operation is known by then.
    job : In(VectorDescriptor)
    bad : Out(1), field : Out(8)
        The descriptor is illegal; index of the offending field.
    plan : Out(plan_layout)

    Latency: 1 cycle from a stable ``job``; ``plan.job`` is ``job`` itself. Cost: comparisons.
    """

    latency = 1

    def __init__(self, config):
        self.config = config
        super().__init__({"offered": In(VectorDescriptor), "take": In(1), "job": In(VectorDescriptor),
                          "bad": Out(1), "field": Out(8), "plan": Out(plan_layout(config))})

    def elaborate(self, platform):
        m = Module()
        config, job, plan = self.config, self.job, self.plan
        log_bus = config.bus_bytes.bit_length() - 1
        op, used = plan.op, {name: Signal(name=f"uses_{name}") for name in FIELDS}
        with m.If(self.take):
            m.d.sync += [*(op[name.name.lower()].eq(self.offered.op == name.value) for name in VectorOp),
                         *(used[name].eq(condition) for name, condition in _used(self.offered).items())]
        check_fields(m, check(config, job, op, used), FIELDS, self.bad, self.field)

        residual, rotate, gather = op.residual, op.rotate, op.gather
        rows = Signal(size_bits(config))
        m.d.comb += [rows.eq(job.channels << log_bus), plan.job.eq(job)]
        m.d.sync += [
            plan.top.eq(job.channels - 1), plan.single.eq(job.channels == 1),
            plan.centred.eq(job.norm == Norm.LAYER), plan.normalises.eq(residual & is_norm(job)),
            plan.takes_x.eq(~residual | job.add),
            plan.two.eq(residual & (is_norm(job) | (job.add & (job.norm == Norm.REQUANTIZE)))),
            plan.second.eq(residual & ~job.add & (job.norm == Norm.REQUANTIZE)),
            plan.last_rows.eq(config.rows - job.idle_rows),
            plan.reads_x.eq(~gather & (~residual | job.add)),
            plan.reads_r.eq((residual & ~(job.add & job.fresh)) | op.gate | rotate),
            plan.reads_t.eq(gather | (residual & is_norm(job))),
            plan.writes.eq(~residual | job.add), plan.writes_r.eq(residual),
            plan.heads.eq(Mux(rotate, job.heads, 1)),
            plan.x_bytes.eq(rows),
            plan.r_bytes.eq(Mux(rotate, job.pairs << log_bus + 1, rows << residual)),
            plan.t_bytes.eq(Mux(gather, 4 * config.rows, job.channels << 2)),
            plan.w_bytes.eq(Mux(op.largest, LARGEST_COUNT * ENTRY_BYTES * config.rows, rows << residual)),
        ]
        return m
