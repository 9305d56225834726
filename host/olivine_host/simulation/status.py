"""A job's status word as a dict, by the layout that the hardware declares."""

from olivine.attention.descriptor import FIELDS as ATTENTION_FIELDS
from olivine.attention.descriptor import GROUP_FIELDS
from olivine.control.job import JobStatus, StatusCode
from olivine.linear.descriptor import FIELDS

__all__ = ["decode_status", "explain"]


def decode_status(value):
    """Fields of `JobStatus` by name: ``code`` is a `StatusCode`, the others are int."""
    status = {name: value >> field.offset & (1 << field.width) - 1 for name, field in JobStatus}
    status["code"] = StatusCode(status["code"])
    return status


_WORDS = {
    StatusCode.BAD_FIELD: "the descriptor's field {field} holds a value that is not allowed",
    StatusCode.GUARD_READ: "a read at address {address:#x} is outside the windows",
    StatusCode.GUARD_WRITE: "a write at address {address:#x} is outside the windows",
    StatusCode.READ_SLVERR: "the bus answered the read of address {address:#x} with SLVERR",
    StatusCode.READ_DECERR: "the bus answered the read of address {address:#x} with DECERR",
    StatusCode.WRITE_SLVERR: "the bus answered the write burst at address {address:#x} with SLVERR",
    StatusCode.WRITE_DECERR: "the bus answered the write burst at address {address:#x} with DECERR",
    StatusCode.TIMEOUT: "the bus was silent for too long",
    StatusCode.BAD_ENTRY: "the table's entry at {address:#x} has a field {field} with a value that is not allowed",
    StatusCode.BAD_BASE: "the page at {address:#x} does not start at a whole beat of memory",
}

_FIELDS = {"linear": FIELDS, "attention": ATTENTION_FIELDS}


def explain(status, unit="linear"):
    """One line about a status that is not OK, in words; ``unit`` names the engine."""
    detail = status["detail"]
    fields = GROUP_FIELDS if status["code"] is StatusCode.BAD_ENTRY else _FIELDS[unit]
    field = repr(fields[detail]) if detail < len(fields) else f"number {detail}"
    return _WORDS[status["code"]].format(field=field, address=status["address"])
