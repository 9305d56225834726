"""One instruction: its fields by name, and its 64 bytes."""

from dataclasses import dataclass, field

from olivine.control.instruction import INSTRUCTION_BYTES, PAYLOAD_BITS, VERSION, WAIT_BITS, Unit
from olivine.control.instruction import Instruction as Layout

from .layouts import BY_OPCODE, KINDS, MEMBERS, UNKNOWN, Member

__all__ = ["Instruction", "unpack", "members_of", "split"]


def _header(name):
    place = Layout[name]
    return Member(name, place.offset, place.width, False, None, 0)


HEADER = {name: _header(name) for name in ("version", "zero_flags")}
_LAST, _WAITS, _PAYLOAD = Layout["last"].offset, Layout["waits"].offset, Layout["payload"].offset


def _rest(kind):
    """The payload's bits behind a descriptor, as a field; None if there are none."""
    bits = KINDS[kind].bits if kind in KINDS else PAYLOAD_BITS
    return Member("zero_payload", bits, PAYLOAD_BITS - bits, False, None, 0) if bits < PAYLOAD_BITS else None


def members_of(kind):
    """Every field of an instruction of that name that can be given, by name: those of its descriptor, the rest of the
    payload, and of the header the version and what must be 0."""
    rest = _rest(kind)
    return {member.name: member for member in (*MEMBERS[kind], *((rest,) if rest else ()), *HEADER.values())}


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Parameters
    ----------
    kind : str
        A name of `layouts.KINDS`, or `layouts.UNKNOWN`.
    fields : dict
        Numbers, or members of enumerations, by name; fields that are left out are 0 (``version`` the present one).
    waits : dict of Unit to int
        How many of a unit's instructions must be complete.
    last : bool
    """

    kind: str
    fields: dict = field(default_factory=dict)
    waits: dict = field(default_factory=dict)
    last: bool = False

    def pack(self):
        """64 bytes.

        Raises
        ------
        ValueError
            Naming the kind, field or wait, its value and what is allowed.
        """
        if self.kind not in MEMBERS:
            raise ValueError(f"instruction is {self.kind!r}: allowed are {', '.join(MEMBERS)}")
        members = members_of(self.kind)
        bits = int(self.last) << _LAST
        fields = {"version": VERSION, **self.fields}
        if self.kind in KINDS:
            bits |= KINDS[self.kind].opcode << _PAYLOAD
        for name, value in fields.items():
            if name not in members:
                raise ValueError(f"{self.kind} has no field {name!r}: it has {', '.join(members)}")
            member, number = members[name], int(getattr(value, "value", value))
            low, high = member.range
            if not low <= number <= high:
                raise ValueError(f"{name} is {number}: allowed is {member.allowed}")
            place = member.low + (0 if name in HEADER else _PAYLOAD)
            bits |= (number & (1 << member.width) - 1) << place
        for unit, count in self.waits.items():
            if not 0 <= count < 1 << WAIT_BITS:
                raise ValueError(f"after {Unit(unit).name.lower()} is {count}: allowed is 0 to {(1 << WAIT_BITS) - 1}")
            bits |= count << _WAITS + WAIT_BITS * Unit(unit).value
        return bits.to_bytes(INSTRUCTION_BYTES, "little")


def unpack(image):
    """The `Instruction` that 64 bytes are, without fields that are 0 and without the present version. Its `pack` gives
    the same bytes, whatever they are."""
    if len(image) != INSTRUCTION_BYTES:
        raise ValueError(f"an instruction has {INSTRUCTION_BYTES} bytes, not {len(image)}")
    bits = int.from_bytes(image, "little")
    payload = bits >> _PAYLOAD
    kind = BY_OPCODE[payload & 0xff].name if payload & 0xff in BY_OPCODE else UNKNOWN
    fields = {}
    for name, member in members_of(kind).items():
        number = member.extract(bits if name in HEADER else payload)
        if number != (VERSION if name == "version" else 0):
            fields[name] = number
    waits = {unit: count for unit in Unit
             if (count := bits >> _WAITS + WAIT_BITS * unit.value & (1 << WAIT_BITS) - 1)}
    return Instruction(kind, fields, waits, bool(bits >> _LAST & 1))


def split(program):
    """A program's instructions, 64 bytes each."""
    if len(program) % INSTRUCTION_BYTES:
        raise ValueError(f"a program has a multiple of {INSTRUCTION_BYTES} bytes, not {len(program)}")
    return [program[at:at + INSTRUCTION_BYTES] for at in range(0, len(program), INSTRUCTION_BYTES)]
