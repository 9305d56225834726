"""Golden model of a vector job, from memory to memory: the exact specification of `olivine.vector.descriptor`."""

import numpy as np
from olivine.control.job import StatusCode
from olivine.linear.descriptor import RowFormat
from olivine.vector.descriptor import (
    ADD_FIELDS,
    DESCRIPTOR_BITS,
    FIELDS,
    FIELDS_OF,
    LARGEST_COUNT,
    NO_INDEX,
    NORM_FIELDS,
    OPCODE_VECTOR,
    Norm,
    VectorDescriptor,
    VectorOp,
)
from olivine.vector.formats import FUNCTION_FRACTION, MAX_CHANNELS, RECIPROCAL_SHIFT, RESIDUAL_BITS, Function

from .activation import activate, gate
from .largest import largest
from .norm import NormJob, normalise_rows
from .residual import add, requantize
from .rotary import Pairing, rotate

__all__ = ["fields_of", "bad_field", "run_vector"]


def fields_of(descriptor):
    """Fields of a descriptor as integers, those that a dict leaves out being 0 (``opcode`` being the right one)."""
    if isinstance(descriptor, dict):
        given = {name: int(getattr(value, "value", value)) for name, value in descriptor.items()}
        if unknown := set(given) - set(FIELDS):
            raise ValueError(f"{sorted(unknown)} are no fields: they are {', '.join(FIELDS)}")
        return {**dict.fromkeys(FIELDS, 0), "opcode": OPCODE_VECTOR, **given}
    if not 0 <= descriptor < 1 << DESCRIPTOR_BITS:
        raise ValueError(f"a descriptor has {DESCRIPTOR_BITS} bits, not {descriptor.bit_length()}")
    return {name: descriptor >> field.offset & (1 << field.width) - 1 for name, field in VectorDescriptor}


def _used(job):
    op = VectorOp(job["op"])
    names = {"opcode", "op", *FIELDS_OF[op]}
    if op is VectorOp.RESIDUAL:
        names |= {*(ADD_FIELDS if job["add"] else ()), *NORM_FIELDS[Norm(job["norm"])]}
    return names


def _legal(config, job, name):
    """Whether a field that the job uses may hold what it holds."""
    value, op = job[name], VectorOp(job["op"])
    normalised = op is VectorOp.RESIDUAL and Norm(job["norm"]) in (Norm.LAYER, Norm.RMS)
    if name in ("x", "r", "t", "y"):
        return value % config.bus_bytes == 0 and value < 1 << config.addr_width
    if name == "channels":
        most = MAX_CHANNELS if normalised else config.max_head_dim if op is VectorOp.ROTATE else value
        return 1 <= value <= most
    return {
        "norm": job["add"] or value != Norm.NONE.value,
        "format": value <= RowFormat.INT16.value,
        "function": value <= max(function.value for function in Function),
        "fraction": 8 <= value <= FUNCTION_FRACTION,
        "groups": 1 <= value <= config.contexts,
        "idle_rows": value < config.rows,
        "heads": value >= 1,
        "pairs": 1 <= value <= job["channels"] // 2,
        "reciprocal": value <= 1 << RECIPROCAL_SHIFT,
        "rotation": value < config.rows,
        "first_lane": value < config.rows,
        "last_lane": job["first_lane"] <= value < config.rows,
    }.get(name, True)


def bad_field(config, job):
    """Name of the first illegal field of a descriptor's fields, or None."""
    if job["opcode"] != OPCODE_VECTOR:
        return "opcode"
    if job["op"] > max(op.value for op in VectorOp):
        return "op"
    used = _used(job)
    return next((name for name in FIELDS[2:]
                 if (job[name] if name not in used else not _legal(config, job, name))), None)


class _Job:
    """A legal job at work."""

    def __init__(self, config, job, memory):
        self.config, self.job, self.memory = config, job, memory
        self.rows, self.channels = config.rows, job["channels"]
        self.bits = RowFormat(job["format"]).bits
        self.tallies = {"sat_output": 0, "sat_sum": 0}

    def load(self, field, words, group, dtype="<i2", count=1):
        """[rows, words * count] of row group ``group`` of the region at ``field``."""
        size = np.dtype(dtype).itemsize * self.rows * words * count
        content = self.memory.read(self.job[field] + group * size, size)
        return np.frombuffer(content, dtype).reshape(words * count, self.rows).T.astype(np.int64)

    def store(self, field, values, group, dtype="<i2"):
        content = np.ascontiguousarray(values.T.astype(dtype)).tobytes()
        self.memory.write(self.job[field] + group * len(content), content)

    def tally(self, name, saturated, group):
        """Count flags [rows, words] of rows that are not idle."""
        idle = self.job["idle_rows"] if group == self.job["groups"] - 1 else 0
        self.tallies[name] += int(saturated[:self.rows - idle].sum())

    def result(self, made, group):
        self.tally("sat_output", made.saturated, group)
        self.store("y", made.y, group)

    # Operations on a row group.

    def residual(self, group):
        job = self.job
        if job["add"] and job["fresh"]:
            residual = np.zeros((self.rows, self.channels), np.int64)
        else:
            low = self.load("r", self.channels, group, "<i4") & (1 << RESIDUAL_BITS) - 1
            residual = low - (low >> RESIDUAL_BITS - 1 << RESIDUAL_BITS)
        if job["add"]:
            made = add(residual, self.load("x", self.channels, group), job["mult"], job["shift"])
            residual = made.residual
            self.tally("sat_sum", made.sum_saturated, group)
            self.store("r", residual, group, "<i4")
        norm = Norm(job["norm"])
        if norm is Norm.REQUANTIZE:
            self.result(requantize(residual, job["out_mult"], job["out_shift"], self.bits), group)
        elif norm is not Norm.NONE:
            of = NormJob(self.channels, job["reciprocal"], job["epsilon"], norm is Norm.LAYER)
            parameters = np.frombuffer(self.memory.read(job["t"], 4 * self.channels), "<i2").reshape(-1, 2).T
            self.result(normalise_rows(residual, of, *parameters, job["out_shift"], self.bits), group)

    def activate(self, group):
        job = self.job
        self.result(activate(Function(job["function"]), self.load("x", self.channels, group), job["fraction"],
                             job["mult"], job["shift"], self.bits), group)

    def gate(self, group):
        self.result(gate(self.load("x", self.channels, group), self.load("r", self.channels, group),
                         self.job["shift"], self.bits), group)

    def rotate(self, group):
        job = self.job
        heads, pairs = job["heads"], job["pairs"]
        x = self.load("x", self.channels * heads, group).reshape(self.rows * heads, self.channels)
        angles = self.load("r", 2 * pairs, group).repeat(heads, 0)
        made = rotate(x, angles[:, ::2], angles[:, 1::2], Pairing(job["interleaved"]))
        self.result(type(made)(*(part.reshape(self.rows, -1) for part in made)), group)

    def gather(self, group):
        job, beat = self.job, self.config.bus_bytes
        stride = -(-2 * self.channels // beat) * beat
        indices = np.frombuffer(self.memory.read(job["t"] + 4 * self.rows * group, 4 * self.rows), "<u4")
        y = np.zeros((self.rows, self.channels), np.int64)
        for row, index in enumerate(indices.tolist()):
            if index != NO_INDEX:
                y[row] = np.frombuffer(self.memory.read(job["x"] + index * stride, 2 * self.channels), "<i2")
        self.store("y", y, group)

    def largest(self, group):
        entries = np.zeros((self.rows, LARGEST_COUNT), np.dtype([("value", "<i4"), ("index", "<u4")]))
        entries["value"], entries["index"] = -1 << 15, NO_INDEX
        values, indices = largest(self.load("x", self.channels, group), LARGEST_COUNT)
        entries["value"][:, :values.shape[1]], entries["index"][:, :values.shape[1]] = values, indices
        self.memory.write(self.job["y"] + group * entries.nbytes, entries.tobytes())

    def lanes(self, group):
        job = self.job
        moved = np.roll(self.load("x", self.channels, group), job["rotation"], axis=0)
        chosen = slice(job["first_lane"], job["last_lane"] + 1)
        y = self.load("y", self.channels, group)
        y[chosen] = moved[chosen]
        self.store("y", y, group)


def run_vector(config, descriptor, memory):
    """Do a vector job.

    Parameters
    ----------
    config : AcceleratorConfig
    descriptor : dict or int
        Fields by name, those left out being 0; or the descriptor's bits.
    memory : object
        With ``read(address, count)`` and ``write(address, content)``.

    Returns
    -------
    dict
        ``code``, ``detail`` and the tallies of its `JobStatus`. An illegal job writes nothing.
    """
    job = fields_of(descriptor)
    bad = bad_field(config, job)
    if bad is not None:
        return {"code": StatusCode.BAD_FIELD, "detail": FIELDS.index(bad), "sat_output": 0, "sat_sum": 0}
    work = _Job(config, job, memory)
    for group in range(job["groups"]):
        getattr(work, VectorOp(job["op"]).name.lower())(group)
    return {"code": StatusCode.OK, "detail": 0, **work.tallies}
