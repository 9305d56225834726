"""The pages of the instruction set and of the registers, and the C header: all from the declarations."""

from olivine.control.instruction import FETCH, FIELDS, HEADER_DETAIL, INSTRUCTION_BYTES, VERSION, Instruction, Unit
from olivine.control.job import StatusCode
from olivine.control.registers import (
    IDENTIFIER,
    INTERFACE,
    REGISTERS,
    WINDOW_BASE,
    WINDOW_REGISTERS,
    WINDOW_STRIDE,
    WINDOWS,
)

from . import meanings
from .layouts import KINDS

__all__ = ["PAGES", "instructions_page", "registers_page", "c_header"]

_MADE = "<!-- Made by `olivine isa reference`; edit the declarations, not this page. -->\n"


def _bits(low, width):
    return str(low) if width == 1 else f"{low}..{low + width - 1}"


def _table(head, rows):
    """A Markdown table; pipes in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines) + "\n"


def instructions_page():
    """docs/instructions.md"""
    page = [f"""# Instructions

{_MADE}
A program is a list of instructions of {INSTRUCTION_BYTES} bytes in memory, little-endian, aligned to their size. Each
is a header and the descriptor of a unit. It ends with the instruction that says `last`, or after as many as the
[register](registers.md) LENGTH says. Instructions begin in order; one reads what others made when those that it waits
for are complete, and fetches everything else before.

```sh
olivine isa assemble program.txt -o program.bin
olivine isa disassemble program.bin
```

In a program's text a line is an instruction: `name field=value ... last after unit number, ...`. Fields that are left
out are 0, `#` begins a comment, and a label before a line (`name:`) can stand after `after`. See
`host/olivine_host/isa/assembler.py`.

## Header

"""]
    page.append(_table(["bits", "field", "meaning"], [
        [_bits(field.offset, field.width), f"`{name}`", meanings.HEADER[name]] for name, field in Instruction]))
    waits = Instruction["waits"]
    page.append("Units, and where each one's waits lie:\n\n" + _table(["unit", "number", "bits", "instructions"], [
        [unit.name.lower(), unit.value, _bits(waits.offset + 16 * unit.value, 16),
         ", ".join(f"`{kind.name}`" for kind in KINDS.values() if kind.unit is unit)] for unit in Unit]))
    page.append(f"An illegal header ends the program with BAD_FIELD, unit {FETCH} and `detail`:\n\n"
                + _table(["detail", "field"], [[HEADER_DETAIL + index, f"`{name}`"]
                                               for index, name in enumerate(FIELDS) if name != "last"]))
    page.append("""## Descriptors

Bits count from the payload's lowest; bits 0 to 7 are the opcode. *Index* is what a BAD_FIELD tells as `detail`.

""")
    groups = {}
    for kind in KINDS.values():
        groups.setdefault(kind.layout, []).append(kind)
    for kinds in groups.values():
        page.append(_descriptor(kinds))
    page.append("## Status codes\n\n" + _table(["code", "", "meaning"], [
        [code.value, code.name, meanings.CODES[code]] for code in StatusCode]))
    return "".join(page).rstrip() + "\n"


def _descriptor(kinds):
    """One section: the instructions that share a layout."""
    first = kinds[0]
    text = [f"### {', '.join(kind.name for kind in kinds)}\n\n"]
    text += [f"`{kind.name}`, opcode {kind.opcode}, unit {kind.unit.name.lower()}, {kind.bits} bits. "
             f"{meanings.WHAT[kind.name]}\n\n" for kind in kinds]
    rows = []
    for member in first.members:
        values = ", ".join(f"{value.name} {value.value}" for value in member.values or ())
        rows.append([_bits(member.low, member.width), f"`{member.name}`", member.index,
                     meanings.FIELDS[first.name][member.name], values])
    return "".join(text) + _table(["bits", "field", "index", "meaning", "values"], rows)


def _register_rows(registers, base=0):
    for register in registers:
        whole = [f"{base + register.offset:#05x}", f"`{register.name}`", register.access]
        note = register.meaning
        if register.latch:
            note += " Reading it keeps its upper half."
        if register.latched:
            note += " The upper half of the number whose lower half was read last."
        yield [*whole, "", "", note]
        for field in register.fields:
            yield ["", "", "", _bits(field.low, field.width), f"`{field.name}`", field.meaning]


def registers_page():
    """docs/registers.md"""
    head = ["offset", "register", "access", "bits", "field", "meaning"]
    return f"""# Registers

{_MADE}
The host's port is AXI4-Lite: 32 bits of data, 12 of address. Registers lie at multiples of 4; bytes that a write's
strobes leave out stay. Bits that no field names, and bits of addresses past those of the bus, read 0 and ignore what
is written. All registers begin at 0, but for constants.

An access where there is no register is answered DECERR; a write to a constant or to state, one to a locked register
while a program runs, and a start that is refused, SLVERR. None of these changes anything.

`olivine isa header -o olivine_registers.h` writes this table for C.

## To run a program

1. Compare `ID` and `VERSION`; read the sizes that the program was made for.
2. Open windows over the program, its weights, the cache and its activations. Memory outside is safe from it.
3. Write `PROGRAM`, `LENGTH`, `BUS_TIMEOUT` and, to be interrupted, `INTERRUPT_ENABLE`; then `CONTROL.start`.
4. Wait for the interrupt, or until `STATUS.running` is 0. Write `CONTROL.clear_interrupt`.
5. `STATUS` says how it ended: done, faulted or aborted; `FAULT` and what follows it why and at which
   [instruction](instructions.md).

Of a number in two halves read the lower first: that keeps the upper half of the same moment.

## All registers

{_table(head, _register_rows(REGISTERS))}
## Windows

Registers of window n, 0 to `BUS.windows` - 1 and at most {WINDOWS - 1}, lie at these offsets from
{WINDOW_BASE:#05x} + {WINDOW_STRIDE:#x} n.

{_table(head, _register_rows(WINDOW_REGISTERS))}""".rstrip() + "\n"


def c_header():
    """olivine_registers.h"""
    lines = ["/* Registers of Olivine, made by `olivine isa header`. */",
             "#ifndef OLIVINE_REGISTERS_H", "#define OLIVINE_REGISTERS_H", ""]

    def define(name, value, remark=""):
        lines.append(f"#define OLIVINE_{name:40} {value}{f'  /* {remark} */' if remark else ''}")

    def registers(some, prefix=""):
        for register in some:
            define(prefix + register.name, f"{register.offset:#05x}u", f"{register.access}. {register.meaning}")
            for field in register.fields:
                name = f"{prefix}{register.name}_{field.name.upper()}"
                define(f"{name}_SHIFT", field.low)
                define(f"{name}_MASK", f"{((1 << field.width) - 1) << field.low:#010x}u", field.meaning)

    define("ID_VALUE", f"{IDENTIFIER:#010x}u", "what ID reads")
    define("VERSION_VALUE", f"{INTERFACE | VERSION << 8:#010x}u", "what VERSION reads")
    define("INSTRUCTION_BYTES", INSTRUCTION_BYTES)
    lines.append("")
    registers(REGISTERS)
    lines += ["", "/* Window n: its registers' offsets from OLIVINE_WINDOW(n). */",
              f"#define OLIVINE_WINDOW(n) ({WINDOW_BASE:#x}u + {WINDOW_STRIDE:#x}u * (n))"]
    registers(WINDOW_REGISTERS, "WINDOW_")
    lines += ["", "/* FAULT.code */"]
    for code in StatusCode:
        define(f"CODE_{code.name}", code.value, meanings.CODES[code])
    lines += ["", "/* FAULT.unit */"]
    for unit in Unit:
        define(f"UNIT_{unit.name}", unit.value)
    define("UNIT_FETCH", FETCH, "the instruction itself is at fault")
    lines += ["", "/* Opcodes: bits 96 to 103 of an instruction. */"]
    for kind in KINDS.values():
        define(f"OPCODE_{kind.name.upper()}", kind.opcode)
    return "\n".join([*lines, "", "#endif", ""])


PAGES = {"instructions.md": instructions_page, "registers.md": registers_page}
"""What makes each page of the documentation."""
