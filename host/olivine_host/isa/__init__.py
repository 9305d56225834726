"""The instruction set from the host's side: assembler, disassembler, listing, and the reference pages."""

from .assembler import AssemblyError, assemble, disassemble, listing
from .faults import explain
from .instruction import Instruction, unpack

__all__ = ["AssemblyError", "Instruction", "assemble", "disassemble", "explain", "listing", "unpack"]
