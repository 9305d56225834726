"""A job's status word as a dict, by the layout that the hardware declares."""

from olivine.attention.descriptor import FIELDS as ATTENTION_FIELDS
from olivine.attention.descriptor import GROUP_FIELDS, SEGMENT_FIELDS
from olivine.control.job import JobStatus, StatusCode
from olivine.kvcache.append.descriptor import ROW_FIELDS
from olivine.kvcache.descriptor import CacheStatus
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
    StatusCode.BAD_SEGMENT: "the segment at {address:#x} names what its sequence does not have: field {field}",
    StatusCode.BAD_ROW: "the row at {address:#x} has a field {field} that names a place that is not its turn",
    StatusCode.REFUSED: "the cache refused the operation: {field}",
    StatusCode.ABORTED: "the job was given up",
}

_FIELDS = {"linear": FIELDS, "attention": ATTENTION_FIELDS}

_FIELDS_OF = {StatusCode.BAD_ENTRY: GROUP_FIELDS, StatusCode.BAD_SEGMENT: SEGMENT_FIELDS,
              StatusCode.BAD_ROW: ROW_FIELDS, StatusCode.REFUSED: tuple(status.name for status in CacheStatus)}
"""What ``detail`` counts, where it is not the descriptor's fields."""


def explain(status, unit="linear"):
    """One line about a status that is not OK, in words; ``unit`` names the engine."""
    detail = status["detail"]
    fields = _FIELDS_OF.get(status["code"], _FIELDS[unit])
    field = repr(fields[detail]) if detail < len(fields) else f"number {detail}"
    return _WORDS[status["code"]].format(field=field, address=status["address"])
