"""Instructions of a program: 64 bytes each, a header and a descriptor of one unit.

A *program* is a list of instructions in memory, aligned to their size. Bits 0 to 95 are the header, the rest is the
payload: the descriptor, whose low 8 bits are the opcode. Descriptors of 256 bits fill the payload's low bits, and
what is left is 0. A program ends with the instruction that says ``last``, or after as many as its length counts.

Instructions begin in order. Each says how many of every unit's instructions, counted from the program's first, must be
complete before it reads *rows*, which is what other instructions make. An instruction cannot wait for one that
comes behind it: such a wait is illegal.
"""

from amaranth.hdl import Mux, unsigned
from amaranth.lib import data, enum

from .job import StatusCode

__all__ = ["VERSION", "INSTRUCTION_BYTES", "WAIT_BITS", "INDEX_BITS", "PAYLOAD_BITS", "SHORT_BITS", "Unit", "FETCH",
           "OPCODES", "LONG_UNITS", "waits_layout", "Instruction", "Opening", "FIELDS", "HEADER_DETAIL", "SLOTS",
           "fetched_layout", "words_of", "word_layout", "ProgramFault", "unit_of"]

VERSION = 1
"""Of the instructions' format; every instruction says it."""

INSTRUCTION_BYTES = 64
WAIT_BITS = 16
INDEX_BITS = 16
"""A program has at most 2**16 - 1 instructions."""

PAYLOAD_BITS = 416
SHORT_BITS = 256
"""Bits of every unit's descriptors but for those of `LONG_UNITS`, which use the whole payload."""


class Unit(enum.Enum, shape=3):
    """Who runs an instruction."""

    LINEAR = 0
    ATTENTION = 1
    APPEND = 2
    CACHE = 3
    VECTOR = 4


FETCH = 7
"""In place of a `Unit`, where a fault is the instruction's own: it could not be read, or its header is illegal."""

OPCODES = {
    1: Unit.LINEAR,
    2: Unit.ATTENTION, 3: Unit.ATTENTION, 6: Unit.ATTENTION,
    4: Unit.APPEND,
    5: Unit.CACHE, 7: Unit.CACHE,
    8: Unit.VECTOR,
}
"""The unit of each opcode. The numbers are those of the descriptors, which lie above this folder; a test compares."""

LONG_UNITS = (Unit.VECTOR,)

waits_layout = data.ArrayLayout(unsigned(WAIT_BITS), len(Unit))
"""For each unit, how many of its instructions must be complete."""

_HEADER = {
    "version": unsigned(8),
    "last": unsigned(1),        # the program ends with this instruction
    "zero_flags": unsigned(7),
    "waits": waits_layout,
}
Instruction = data.StructLayout({**_HEADER, "payload": unsigned(PAYLOAD_BITS)})
Opening = data.StructLayout({**_HEADER, "opcode": unsigned(8)})
"""What an instruction begins with: all that is looked at before its unit has it."""

assert Instruction.size == 8 * INSTRUCTION_BYTES, Instruction.size

FIELDS = ("version", "last", "zero_flags", *(f"wait_{unit.name.lower()}" for unit in Unit), "opcode", "zero_payload")
"""What can be illegal in an instruction apart from its descriptor: the header's fields, an opcode that nobody has, and
bits of the payload that a descriptor of 256 bits leaves."""

HEADER_DETAIL = 128
"""A fault's ``detail`` for BAD_FIELD in the header is this and the index into `FIELDS`; below it, it is an index into
the fields of the unit's descriptor."""


SLOTS = 8
"""Instructions that are kept on the chip between those who read them and their units. Power of two."""

fetched_layout = data.StructLayout({"unit": Unit, "last": unsigned(1), "index": unsigned(INDEX_BITS)})
"""An instruction on its way to its unit: who runs it, whether the program ends with it, and its place in the program.
Its words are kept in slot ``index`` modulo `SLOTS`."""


def words_of(bits, bus_bits):
    """Bus words that header and a descriptor of so many bits take."""
    return -(-(Instruction.size - PAYLOAD_BITS + bits) // bus_bits)


def word_layout(bus_bits):
    """A word of an instruction, and where it is kept."""
    places = max(words_of(PAYLOAD_BITS, bus_bits), 2)
    return data.StructLayout({"valid": 1, "slot": range(SLOTS), "place": range(places), "data": unsigned(bus_bits)})


ProgramFault = data.StructLayout({
    "code": StatusCode,         # OK: there was none
    "unit": unsigned(3),        # a `Unit`, or FETCH
    "detail": unsigned(8),
    "address": unsigned(48),    # what was at fault, as the code says
    "index": unsigned(INDEX_BITS), "instruction": unsigned(48),     # which instruction, and where it lies
})
"""Why a program ended before its end, and at which instruction."""


def unit_of(opcode):
    """``(unit, known, long)`` of an opcode, as values: who runs it, whether anyone does, and whether its descriptor
    uses the whole payload."""
    known, long, number = 0, 0, 0
    for value, unit in OPCODES.items():
        hit = opcode == value
        known |= hit
        number = Mux(hit, unit.value, number)
        if unit in LONG_UNITS:
            long |= hit
    return number, known, long
