"""The registers that a host sees, declared once: gateware, C header and documentation read this table.

Registers are 32 bits wide, at multiples of 4 of a space of 4 KiB. A name that ends in ``_LO`` has a partner ``_HI``
behind it, the upper half of one number. Bits that no field names, and bits of addresses past those of the bus, read
0, and what is written to them is lost.
"""

from dataclasses import dataclass

from .instruction import INDEX_BITS, INSTRUCTION_BYTES, Unit
from .job import COUNTERS, TALLIES

__all__ = ["ADDRESS_BITS", "IDENTIFIER", "INTERFACE", "Access", "Field", "Register", "REGISTERS", "WINDOW_REGISTERS",
           "WINDOW_BASE", "WINDOW_STRIDE", "WINDOWS", "PROGRAM_COUNTERS", "COUNTER_BITS", "TALLY_BITS", "BY_NAME"]

ADDRESS_BITS = 12

IDENTIFIER = int.from_bytes(b"OLVN", "little")

INTERFACE = 1
"""Version of this table."""

COUNTER_BITS = 64
TALLY_BITS = 32


class Access:
    """How a register may be used."""

    CONSTANT = "constant"
    """Read only, and the same for ever."""
    STATE = "read"
    """Read only."""
    SETTING = "read, write"
    LOCKED = "read, write while no program runs"
    """A write while a program runs changes nothing and is answered SLVERR."""
    COMMAND = "write one"
    """Each bit that is written as 1 does something, once; reads 0."""


@dataclass(frozen=True)
class Field:
    """Bits ``low`` to ``low + width - 1`` of a register."""

    name: str
    low: int
    width: int
    meaning: str
    reset: int = 0


@dataclass(frozen=True)
class Register:
    """One register. Where a number that changes has two halves, reading the lower (``latch``) keeps the upper, which
    the next read of an upper half (``latched``) gives: the halves of one moment.

    Parameters
    ----------
    name : str
    offset : int
        Bytes from the start of the space; of a window's registers, from the start of the window's.
    access : str
        One of `Access`.
    fields : tuple of Field
    meaning : str
    latch, latched : bool
    """

    name: str
    offset: int
    access: str
    fields: tuple
    meaning: str
    latch: bool = False
    latched: bool = False


def _whole(name, meaning, width=32, reset=0):
    return (Field(name, 0, width, meaning, reset),)


def _pair(name, offset, access, meaning, latch=False, low=0, high=16):
    """A number's two halves; bits below ``low`` of it are always 0."""
    return (Register(f"{name}_LO", offset, access, (Field("low", low, 32 - low, "lower half"),), meaning, latch=latch),
            Register(f"{name}_HI", offset + 4, access, (Field("high", 0, high, "upper half"),), meaning,
                     latched=latch))


PROGRAM_COUNTERS = {
    "cycles": "cycles in which the program ran",
    **{name: meaning for name, meaning in COUNTERS.items() if name != "cycles"},
    "stall_idle": "cycles in which no engine held the array",
}
"""Counters of a program, by name."""

_ALIGNED = (INSTRUCTION_BYTES - 1).bit_length()

REGISTERS = (
    Register("ID", 0x000, Access.CONSTANT, _whole("id", "the letters OLVN, the first in the lowest byte"),
             "What this is."),
    Register("VERSION", 0x004, Access.CONSTANT, (
        Field("registers", 0, 8, "version of these registers"),
        Field("instructions", 8, 8, "version of the instructions")), "What it understands."),
    Register("ARRAY", 0x008, Access.CONSTANT, (
        Field("rows", 0, 16, "P, tokens worked on at once"),
        Field("lanes", 16, 16, "L, output channels worked on at once")), "Sizes of the array."),
    Register("BUS", 0x00c, Access.CONSTANT, (
        Field("bus_bytes", 0, 8, "bytes of a beat"),
        Field("addr_width", 8, 8, "bits of an address"),
        Field("contexts", 16, 8, "C, row groups of a step"),
        Field("windows", 24, 8, "windows of memory that the host can open")), "Sizes of the bus and of a step."),
    Register("MODEL", 0x010, Access.CONSTANT, (
        Field("max_reduction", 0, 16, "largest reduction of a linear layer"),
        Field("max_head_dim", 16, 16, "largest head dimension")), "Largest layers."),
    Register("SEQUENCE", 0x014, Access.CONSTANT, _whole("max_sequence", "keys that a row can attend to"),
             "Longest sequence."),
    Register("CACHE", 0x018, Access.CONSTANT, (
        Field("sequences", 0, 16, "sequences that the key-value cache can hold at once"),
        Field("cells", 16, 16, "cells of a heavy-hitter sequence in one KV head")), "Sizes of the key-value cache."),
    Register("BLOCKS", 0x01c, Access.CONSTANT, _whole("blocks", "blocks of the cache's pool, at most"),
             "Size of the key-value cache's pool."),
    Register("SCRATCHPAD_WORDS", 0x020, Access.CONSTANT, _whole("words", "beats that it holds"),
             "Size of the memory on chip."),
    *_pair("SCRATCHPAD", 0x028, Access.CONSTANT, "Address of the memory on chip. Its window is always open."),

    Register("CONTROL", 0x040, Access.COMMAND, (
        Field("start", 0, 1, "start the program; SLVERR, and nothing happens, while one runs or if LENGTH is 0"),
        Field("abort", 1, 1, "give up the program that runs; nothing happens if none does"),
        Field("clear_interrupt", 2, 1, "clear STATUS.interrupt")), "Commands."),
    Register("STATUS", 0x044, Access.STATE, (
        Field("running", 0, 1, "a program runs"),
        Field("done", 1, 1, "a program ran to its end"),
        Field("faulted", 2, 1, "a program ended with a fault"),
        Field("aborted", 3, 1, "a program was given up"),
        Field("interrupt", 4, 1, "a program ended, however, and the interrupt was not cleared")),
        "State. A start clears all but running."),
    Register("INTERRUPT_ENABLE", 0x048, Access.SETTING, (
        Field("enable", 0, 1, "the interrupt pin follows STATUS.interrupt; otherwise it is low"),), "Interrupts."),
    *_pair("PROGRAM", 0x050, Access.LOCKED, "Address of the program's first instruction, a multiple of 64.",
           low=_ALIGNED),
    Register("LENGTH", 0x058, Access.LOCKED, _whole("length", "1 to 65,535", INDEX_BITS),
             "Instructions of the program, at most: it ends before with an instruction that says so."),
    Register("BUS_TIMEOUT", 0x05c, Access.LOCKED, _whole("cycles", "silent cycles; 0 is never", 24),
             "How long the bus may be silent, while an answer is needed, before an instruction ends with TIMEOUT."),

    Register("FAULT", 0x060, Access.STATE, (
        Field("code", 0, 8, "a status code; 0: the program has not failed"),
        Field("detail", 8, 8, "as the code says, such as the index of a field"),
        Field("unit", 16, 3, "the unit that reported it; 7: the instruction itself is at fault"),),
        "Why the last program ended before its end; cleared by a start."),
    Register("FAULT_INDEX", 0x064, Access.STATE, _whole("index", "counted from 0", INDEX_BITS),
             "The instruction that failed."),
    *_pair("FAULT_ADDRESS", 0x068, Access.STATE, "The address that was at fault, if the code has one."),
    *_pair("FAULT_INSTRUCTION", 0x070, Access.STATE, "Address of the instruction that failed."),
    *_pair("RESULT", 0x078, Access.STATE, "Answer of the program's last cache operation: of OPEN and FORK the new "
           "sequence's handle, slot in bits 0 to 15, generation in bits 16 to 31, of others 0. Cleared by a start.",
           latch=True),
    *(Register(f"COMPLETED_{unit.name}", 0x080 + 4 * unit.value, Access.STATE,
               _whole("count", "instructions", INDEX_BITS),
               f"Instructions of the unit {unit.name.lower()} that are complete since the start.") for unit in Unit),

    *(register for index, (name, meaning) in enumerate(PROGRAM_COUNTERS.items())
      for register in _pair(name.upper(), 0x300 + 8 * index, Access.STATE, f"{meaning[0].upper()}{meaning[1:]}.",
                            latch=True, high=32)),
    *(Register(name.upper(), 0x380 + 4 * index, Access.STATE, _whole("count", "stays at its largest value", TALLY_BITS),
               f"{meaning[0].upper()}{meaning[1:]}.") for index, (name, meaning) in enumerate(TALLIES.items())),
)
"""All registers but those of the windows. Counters and tallies count while a program runs, and a start clears them."""

WINDOW_BASE, WINDOW_STRIDE, WINDOWS = 0x100, 0x20, 15
"""Registers of window n lie at ``WINDOW_BASE + n * WINDOW_STRIDE``; at most so many windows. Those past BUS.windows do
not exist."""

WINDOW_REGISTERS = (
    *_pair("FIRST", 0x00, Access.LOCKED, "Address of the window's first byte."),
    *_pair("LAST", 0x08, Access.LOCKED, "Address of the window's last byte; below the first: the window is closed."),
    Register("FLAGS", 0x10, Access.LOCKED, (
        Field("readable", 0, 1, "the accelerator may read here"),
        Field("writable", 1, 1, "the accelerator may write here")), "What the window allows."),
)

BY_NAME = {register.name: register for register in REGISTERS}

assert [field.name for field in BY_NAME["CONTROL"].fields] == ["start", "abort", "clear_interrupt"]
