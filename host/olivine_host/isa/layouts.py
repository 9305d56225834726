"""Which instructions there are: the opcodes of `olivine.control.instruction` joined with the descriptors' layouts."""

from dataclasses import dataclass

from amaranth.hdl import Shape
from amaranth.lib import data, enum
from olivine.attention.descriptor import (
    OPCODE_ATTENTION,
    OPCODE_MERGE,
    OPCODE_SCORE,
    AttentionDescriptor,
    OutputFormat,
)
from olivine.control.instruction import OPCODES, PAYLOAD_BITS
from olivine.core.descriptor import OPCODE_SETUP, SetupDescriptor
from olivine.kvcache.append.descriptor import OPCODE_APPEND, AppendDescriptor
from olivine.kvcache.descriptor import OPCODE_CACHE, CacheCommand
from olivine.linear.descriptor import OPCODE_LINEAR, Group, LinearDescriptor, RowFormat
from olivine.vector.descriptor import OPCODE_VECTOR, VectorDescriptor, VectorOp
from olivine.vector.formats import Function

__all__ = ["Member", "Kind", "KINDS", "BY_OPCODE", "UNKNOWN", "MEMBERS"]

HEX_WIDTH = 32
"""From so many bits on a number is shown in hexadecimal: addresses, masks."""

ENUMS = {
    LinearDescriptor: {"x_format": RowFormat, "y_format": RowFormat, "group": Group},
    AttentionDescriptor: {"q_format": RowFormat, "o_format": OutputFormat},
    AppendDescriptor: {"format": RowFormat},
    VectorDescriptor: {"op": VectorOp, "format": RowFormat, "function": Function},
}
"""Fields that a layout leaves plain numbers, so that values without a name arrive as they are."""


@dataclass(frozen=True)
class Member:
    """A field of a descriptor, inner structures taken apart: ``geometry.base``.

    Parameters
    ----------
    name : str
    low, width : int
        Where it lies, from the payload's bit 0.
    signed : bool
    values : enum or None
        Its values' names.
    index : int
        Of the descriptor's field, as a status's ``detail`` counts them.
    """

    name: str
    low: int
    width: int
    signed: bool
    values: type | None
    index: int

    @property
    def range(self):
        """Smallest and largest number."""
        return (-(1 << self.width - 1), (1 << self.width - 1) - 1) if self.signed else (0, (1 << self.width) - 1)

    @property
    def allowed(self):
        low, high = self.range
        names = f"{', '.join(value.name for value in self.values)}, or " if self.values else ""
        return f"{names}{low} to {high:#x}" if self.width >= HEX_WIDTH else f"{names}{low} to {high}"

    def extract(self, payload):
        bits = payload >> self.low & (1 << self.width) - 1
        return bits - (1 << self.width) if self.signed and bits >> self.width - 1 else bits

    def show(self, number):
        if self.values:
            name = next((value.name for value in self.values if value.value == number), None)
            if name:
                return name
        return f"{number:#x}" if self.width >= HEX_WIDTH else str(number)


@dataclass(frozen=True)
class Kind:
    """An instruction: what it is called, its opcode, and the fields of its descriptor but for the opcode."""

    name: str
    opcode: int
    layout: data.StructLayout

    @property
    def unit(self):
        return OPCODES[self.opcode]

    @property
    def bits(self):
        return self.layout.size

    @property
    def members(self):
        return MEMBERS[self.name]


def _members(layout, enums, prefix="", low=0, index=None):
    for place, (name, field) in enumerate(layout):
        number, shape = place if index is None else index, field.shape
        if isinstance(shape, data.StructLayout):
            yield from _members(shape, {}, f"{prefix}{name}.", low + field.offset, number)
        elif prefix or name != "opcode":
            plain = Shape.cast(shape)
            values = shape if isinstance(shape, enum.EnumType) else enums.get(name)
            yield Member(prefix + name, low + field.offset, plain.width, plain.signed, values, number)


KINDS = {kind.name: kind for kind in (
    Kind("linear", OPCODE_LINEAR, LinearDescriptor),
    Kind("attention", OPCODE_ATTENTION, AttentionDescriptor),
    Kind("merge", OPCODE_MERGE, AttentionDescriptor),
    Kind("score", OPCODE_SCORE, AttentionDescriptor),
    Kind("append", OPCODE_APPEND, AppendDescriptor),
    Kind("cache", OPCODE_CACHE, CacheCommand),
    Kind("setup", OPCODE_SETUP, SetupDescriptor),
    Kind("vector", OPCODE_VECTOR, VectorDescriptor),
)}

BY_OPCODE = {kind.opcode: kind for kind in KINDS.values()}

UNKNOWN = "unknown"
"""What an instruction with an opcode that nobody has is called; its only field is the payload."""

MEMBERS = {name: tuple(_members(kind.layout, ENUMS.get(kind.layout, {}))) for name, kind in KINDS.items()}
MEMBERS[UNKNOWN] = (Member("payload", 0, PAYLOAD_BITS, False, None, 0),)
"""The fields of each instruction's payload, by its name."""
