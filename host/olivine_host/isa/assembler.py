"""Programs as text, and back: a line is an instruction.

::

    # comment
    norm:   vector op=RESIDUAL norm=RMS groups=1 channels=256 r=0x8000 y=0x9000 t=0x7000
            linear x_format=INT12 y_format=INT16 m=8 k=256 n=768 x=0x9000 w=0x10000 y=0xa000 after norm
            append rows=8 heads=4 keys=0xa000 values=0xb000 table=0xc000 scales=0xc100 after linear 1, cache 2 last

A line is ``[label:] name [field=value ...] [last] [after what, what, ...]``, in this order but for ``last``, which may
also end the line. Fields that are left out are 0. A value is a number (decimal, ``0x``, ``0b``, with ``_`` where it
pleases) or a name. What comes after ``after`` is a unit and how many of its instructions must be complete, or the label
of a line above, which stands for that instruction and all before it of its unit.
"""

import re

from olivine.control.instruction import WAIT_BITS, Unit

from .instruction import Instruction, members_of, split, unpack
from .layouts import KINDS, UNKNOWN

__all__ = ["AssemblyError", "assemble", "disassemble", "listing", "text_of"]

UNITS = {unit.name.lower(): unit for unit in Unit}
NAMES = (*KINDS, UNKNOWN)
LABEL = re.compile(r"[A-Za-z_]\w*")


class AssemblyError(ValueError):
    """A line that is not an instruction: names the line, what is wrong in it, and what is allowed."""

    def __init__(self, line, text):
        self.line = line
        super().__init__(f"line {line}: {text}")


def assemble(text):
    """The bytes of a program.

    Raises
    ------
    AssemblyError
    """
    program, labels, issued = bytearray(), {}, dict.fromkeys(Unit, 0)
    for line, content in enumerate(text.splitlines(), 1):
        content = re.split(r"[#;]", content, maxsplit=1)[0].strip()
        try:
            label, instruction = _line(content, labels)
            if instruction is not None:
                program += instruction.pack()
                if instruction.kind in KINDS:
                    unit = KINDS[instruction.kind].unit
                    issued[unit] += 1
                    if label:
                        labels[label] = unit, issued[unit]
        except ValueError as error:
            raise AssemblyError(line, error) from None
    return bytes(program)


def _line(content, labels):
    """(label or None, instruction or None)"""
    label = None
    if match := re.match(r"([^\s=]+):(?:\s+|$)", content):
        label, content = match.group(1), content[match.end():]
        if not LABEL.fullmatch(label) or label in UNITS:
            raise ValueError(f"label is {label!r}: allowed are letters, digits and _, and not {', '.join(UNITS)}")
        if label in labels:
            raise ValueError(f"label {label!r} is given twice")
        if not content:
            raise ValueError(f"label {label!r} stands alone: its instruction follows on the same line")
    if not content:
        return None, None
    head, _, after = re.sub(r"\s+", " ", content).partition(" after ")
    if head.endswith(" after"):
        raise ValueError("after what? A unit and a number, or a label")
    words = head.split(" ")
    last = "last" in words
    if after.endswith(" last"):
        last, after = True, after.removesuffix(" last")
    name, *words = [word for word in words if word != "last"] or [""]
    if name not in NAMES:
        raise ValueError(f"instruction is {name!r}: allowed are {', '.join(NAMES)}")
    return label, Instruction(name, _fields(name, words), _waits(after, labels) if after else {}, last)


def _fields(name, words):
    fields, members = {}, members_of(name)
    for word in words:
        field, equals, value = word.partition("=")
        if not equals or not field:
            raise ValueError(f"{word!r} is not field=value, last or after")
        if field not in members:
            raise ValueError(f"{name} has no field {field!r}: it has {', '.join(members)}")
        if field in fields:
            raise ValueError(f"{field} is given twice")
        fields[field] = _number(field, value, members[field])
    return fields


def _number(field, value, member):
    for named in member.values or ():
        if value == named.name:
            return named.value
    low, high = member.range
    try:
        number = int(value, 0)
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        raise ValueError(f"{field} is {value}: allowed is {member.allowed}")
    return number


def _waits(text, labels):
    waits = {}
    for item in text.split(","):
        words = item.split()
        if len(words) == 1 and words[0] in labels:
            unit, count = labels[words[0]]
        elif len(words) == 2 and words[0] in UNITS:
            unit, most = UNITS[words[0]], (1 << WAIT_BITS) - 1
            if not words[1].isdecimal() or not 0 <= int(words[1]) <= most:
                raise ValueError(f"after {words[0]} is {words[1]}: allowed is 0 to {most}")
            count = int(words[1])
        else:
            known = f", or a label above: {', '.join(labels)}" if labels else ""
            raise ValueError(f"after is {item.strip()!r}: allowed are {', '.join(UNITS)} with a number{known}")
        waits[unit] = max(count, waits.get(unit, 0))
    return waits


def text_of(instruction):
    """The line of one `Instruction`."""
    members, fields = members_of(instruction.kind), instruction.fields
    if "op" in members:
        # Everything else hangs on it, so it is said even if it is 0.
        fields = {"op": 0, **fields}
    words = [instruction.kind, *(f"{name}={members[name].show(number)}" for name, number in fields.items())]
    if instruction.last:
        words.append("last")
    if instruction.waits:
        words.append("after " + ", ".join(f"{unit.name.lower()} {count}" for unit, count in instruction.waits.items()))
    return " ".join(words)


def disassemble(program):
    """The text of a program, a line an instruction. Whatever the bytes are, `assemble` makes the same of it."""
    return "".join(f"{text_of(unpack(image))}\n" for image in split(program))


def listing(program, address=0):
    """The text of a program that lies at ``address``, for people: each line has the instruction's number and address,
    its unit, and which of the unit's it is, counted from 1 as waits do."""
    lines, issued = [], dict.fromkeys(Unit, 0)
    for index, image in enumerate(split(program)):
        instruction = unpack(image)
        place = ""
        if instruction.kind in KINDS:
            unit = KINDS[instruction.kind].unit
            issued[unit] += 1
            place = f"{unit.name.lower()} {issued[unit]}"
        lines.append(f"{index:5}  {address + len(image) * index:#010x}  {place:13}  {text_of(instruction)}\n")
    return "".join(lines)
