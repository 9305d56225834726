"""What a fault says, in words."""

from olivine.attention.descriptor import CACHED_FIELDS, GROUP_FIELDS, SEGMENT_FIELDS
from olivine.control.instruction import FETCH, FIELDS, HEADER_DETAIL, Unit
from olivine.control.job import StatusCode
from olivine.kvcache.append.descriptor import ROW_FIELDS, AppendScales
from olivine.kvcache.descriptor import CacheStatus

from .assembler import text_of
from .instruction import split, unpack
from .layouts import KINDS
from .meanings import CODES

__all__ = ["explain"]

SCALES_FIELDS = tuple(name for name, _ in AppendScales)


def explain(program, fault):
    """Why a program ended: the instruction, what was wrong, where.

    Parameters
    ----------
    program : bytes
    fault : dict
        ``code``, ``unit``, ``detail``, ``address``, ``index`` and ``instruction``, as the registers have them.
    """
    code, unit = StatusCode(fault["code"]), fault["unit"]
    instruction = unpack(split(program)[fault["index"]])
    who = "fetch" if unit == FETCH else Unit(unit).name.lower()
    lines = [f"instruction {fault['index']} at {fault['instruction']:#x}, unit {who}: {code.name}, {CODES[code]}",
             f"  {text_of(instruction)}"]
    if what := _detail(code, unit, fault["detail"], instruction):
        lines.append(f"  {what}")
    if fault["address"]:
        lines.append(f"  address {fault['address']:#x}")
    return "\n".join(lines)


def _detail(code, unit, detail, instruction):
    """What ``detail`` is the index of, or None where the code has no detail."""
    if code is StatusCode.REFUSED:
        return f"the cache says {CacheStatus(detail).name}"
    if code is StatusCode.BAD_FIELD:
        names = ("",) * HEADER_DETAIL + FIELDS if unit == FETCH else tuple(
            name for name, _ in KINDS[instruction.kind].layout)
    elif code is StatusCode.BAD_ENTRY:
        names = SCALES_FIELDS if instruction.kind == "append" else (
            CACHED_FIELDS if instruction.fields.get("cached") else GROUP_FIELDS)
    elif code is StatusCode.BAD_SEGMENT:
        names = SEGMENT_FIELDS
    elif code is StatusCode.BAD_ROW:
        names = ROW_FIELDS
    else:
        return None
    return f"field {names[detail]}" if detail < len(names) else f"field {detail}, which there is not"
