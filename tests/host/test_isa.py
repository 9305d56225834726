"""The instruction set from the host's side, and the tables of control that it is made of."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from olivine.control import instruction as declared
from olivine.control.instruction import FIELDS, LONG_UNITS, OPCODES, PAYLOAD_BITS, SHORT_BITS, Unit
from olivine.control.job import COUNTERS, TALLIES, StatusCode
from olivine.control.registers import (
    ADDRESS_BITS,
    PROGRAM_COUNTERS,
    REGISTERS,
    WINDOW_BASE,
    WINDOW_REGISTERS,
    WINDOW_STRIDE,
    WINDOWS,
    Access,
)
from olivine.core.descriptor import SETUP_FIELDS
from olivine.kvcache.descriptor import CacheOp
from olivine_host.cli import olivine as cli
from olivine_host.isa import AssemblyError, Instruction, assemble, disassemble, explain, listing, meanings, unpack
from olivine_host.isa.instruction import HEADER, members_of
from olivine_host.isa.layouts import BY_OPCODE, KINDS, MEMBERS, UNKNOWN
from olivine_host.isa.reference import PAGES, c_header

from tb.streams import pack

ROOT = Path(__file__).parent.parent.parent


# --- The declarations ------------------------------------------------------------------------------------

def test_opcodes_are_those_of_the_descriptors():
    """Each opcode has a descriptor, its unit, and a layout of the right size that begins with it."""
    assert set(BY_OPCODE) == set(OPCODES) and {kind.unit for kind in KINDS.values()} == set(Unit)
    for kind in KINDS.values():
        assert kind.bits == (PAYLOAD_BITS if kind.unit in LONG_UNITS else SHORT_BITS), kind
        assert (kind.layout["opcode"].offset, kind.layout["opcode"].width) == (0, 8), kind


def test_header_is_where_it_is_said_to_be():
    places = {name: (field.offset, field.width) for name, field in declared.Instruction}
    assert places == {"version": (0, 8), "last": (8, 1), "zero_flags": (9, 7), "waits": (16, 80), "payload": (96, 416)}
    assert [unit.value for unit in Unit] == list(range(5)) and declared.FETCH not in [unit.value for unit in Unit]
    assert FIELDS[3:8] == tuple(f"wait_{unit.name.lower()}" for unit in Unit)
    # No descriptor has so many fields that an index could be one of the header's.
    assert all(len(tuple(kind.layout)) <= declared.HEADER_DETAIL for kind in KINDS.values())
    assert declared.HEADER_DETAIL + len(FIELDS) <= 256


@pytest.mark.parametrize("name", KINDS)
def test_members_cover_the_descriptor(name):
    bits = 0xff
    for member in MEMBERS[name]:
        mask = ((1 << member.width) - 1) << member.low
        assert not bits & mask, member
        bits |= mask
    assert bits == (1 << KINDS[name].bits) - 1
    fields = [field for field, _ in KINDS[name].layout]
    assert all(fields[member.index] == member.name.split(".")[0] for member in MEMBERS[name])


def test_registers_are_apart():
    offsets = [register.offset for register in REGISTERS]
    offsets += [WINDOW_BASE + WINDOW_STRIDE * n + register.offset
                for n in range(WINDOWS) for register in WINDOW_REGISTERS]
    assert len(set(offsets)) == len(offsets) and all(not n % 4 and n < 1 << ADDRESS_BITS for n in offsets)
    for some in (REGISTERS, WINDOW_REGISTERS):
        byname = {register.name: register for register in some}
        assert len(byname) == len(some)
        for register in some:
            used = 0
            for field in register.fields:
                mask = ((1 << field.width) - 1) << field.low
                assert not used & mask and mask < 1 << 32 and field.meaning, (register.name, field)
                used |= mask
            if register.name.endswith("_LO"):
                upper = byname[register.name.removesuffix("LO") + "HI"]
                assert upper.offset == register.offset + 4 and upper.access == register.access
                assert upper.latched == register.latch
            assert register.meaning and register.access in vars(Access).values()


def test_every_counter_has_registers():
    names = {register.name for register in REGISTERS}
    assert set(COUNTERS) <= set(PROGRAM_COUNTERS)
    assert {f"{name.upper()}_{half}" for name in PROGRAM_COUNTERS for half in ("LO", "HI")} <= names
    assert {name.upper() for name in TALLIES} <= names


# --- Bytes ------------------------------------------------------------------------------------------------

def random_instruction(rng, kind):
    fields = {name: rng.choice((member.range[1], rng.randint(*member.range)))
              for name, member in members_of(kind).items() if rng.random() < 0.6}
    if kind == UNKNOWN:
        # No opcode that somebody has.
        fields["payload"] = rng.getrandbits(PAYLOAD_BITS) | 0xf0
    waits = {unit: rng.getrandbits(16) for unit in Unit if rng.random() < 0.5}
    return Instruction(kind, fields, waits, bool(rng.getrandbits(1)))


def packed(instruction):
    """The same bytes by the layouts themselves."""
    fields = {"version": 1, **instruction.fields}
    header = {name: fields.pop(name, 0) for name in HEADER}
    rest = fields.pop("zero_payload", 0)
    if instruction.kind == UNKNOWN:
        payload = fields["payload"]
    else:
        kind, nested = KINDS[instruction.kind], {}
        for name, value in fields.items():
            outer, _, inner = name.partition(".")
            if inner:
                nested.setdefault(outer, {})[inner] = value
            else:
                nested[outer] = value
        payload = pack(kind.layout, {"opcode": kind.opcode, **nested}) | rest << kind.bits
    waits = [instruction.waits.get(unit, 0) for unit in Unit]
    return pack(declared.Instruction, {**header, "last": int(instruction.last), "waits": waits,
                                       "payload": payload}).to_bytes(64, "little")


@pytest.mark.parametrize("kind", MEMBERS)
def test_fields_lie_where_the_layouts_say(kind):
    rng = random.Random(kind)
    for _ in range(100):
        instruction = random_instruction(rng, kind)
        image = instruction.pack()
        assert image == packed(instruction)
        again = unpack(image)
        assert again.kind == kind and again.last == instruction.last and again.pack() == image
        assert {name: value for name, value in instruction.fields.items()
                if value != (1 if name == "version" else 0)} == again.fields
        assert {unit: count for unit, count in instruction.waits.items() if count} == again.waits


def test_text_and_back_whatever_the_bytes():
    rng = random.Random(5)
    for _ in range(2_000):
        image = bytearray(rng.randbytes(64) if rng.getrandbits(1) else bytes(64))
        for _ in range(rng.randint(0, 4)):
            image[rng.randrange(64)] = rng.getrandbits(8)
        if rng.random() < 0.7:
            image[12] = rng.choice(list(OPCODES))
        assert assemble(disassemble(bytes(image))) == bytes(image), disassemble(bytes(image))


def test_instruction_by_hand():
    """Counted out on paper: linear with m 5, k 7, x 0x1234, after vector 3, the program's last."""
    bits = 1 | 1 << 8 | 3 << 16 + 4 * 16 | (1 | 1 << 10 | 5 << 22 | 7 << 42 | 0x1234 << 82) << 96
    assert assemble("linear m=5 k=7 x=0x1234 x_format=INT12 last after vector 3") == bits.to_bytes(64, "little")


@pytest.mark.parametrize("change, message", [
    ({"kind": "liner"}, "instruction is 'liner': allowed are linear, attention"),
    ({"fields": {"mm": 1}}, "linear has no field 'mm': it has weight_format, x_format"),
    ({"fields": {"m": 1 << 20}}, "m is 1048576: allowed is 0 to 1048575"),
    ({"fields": {"x": -1}}, "x is -1: allowed is 0 to 0xffffffffffff"),
    ({"waits": {Unit.APPEND: 1 << 16}}, "after append is 65536: allowed is 0 to 65535"),
])
def test_pack_refuses(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Instruction(**{"kind": "linear", **change}).pack()


def test_enumerations_may_be_given():
    assert unpack(Instruction("cache", {"op": CacheOp.FORK}).pack()).fields == {"op": CacheOp.FORK.value}


# --- Text -------------------------------------------------------------------------------------------------

PROGRAM = """
# A comment, and an empty line

setup geometry.base=0x10_0000 geometry.blocks=64   ; another
norm:  vector op=RESIDUAL norm=RMS groups=1 channels=0x100 r=0x8000
\tlinear m=8 k=256 n=0b1000 x=4096 weight_format=INT8 after norm
more:  linear m=8 last after norm, cache 1, more_or_less 2
"""


def test_listing():
    text = PROGRAM.replace(", more_or_less 2", "")
    assert listing(assemble(text), 0x4000) == (
        "    0  0x00004000  cache 1        setup geometry.base=0x100000 geometry.blocks=64\n"
        "    1  0x00004040  vector 1       vector op=RESIDUAL norm=RMS groups=1 channels=256 r=0x8000\n"
        "    2  0x00004080  linear 1       linear weight_format=INT8 m=8 k=256 n=8 x=0x1000 after vector 1\n"
        "    3  0x000040c0  linear 2       linear m=8 last after cache 1, vector 1\n")


def test_labels_stand_for_their_instructions():
    text = ("a: linear m=1\nb: linear m=2\nc: score\n"
            "linear after a\nlinear after b, c\nlinear after a, b, linear 7 last\n")
    assert disassemble(assemble(text)).splitlines()[3:] == [
        "linear after linear 1", "linear after linear 2, attention 1", "linear last after linear 7"]


@pytest.mark.parametrize("text, line, message", [
    (PROGRAM, 7, "after is 'more_or_less 2': allowed are linear, attention, append, cache, vector with a number, or a "
                 "label above: norm"),
    ("liner m=2", 1, "instruction is 'liner': allowed are linear, attention, merge, score, append, cache, setup, "
                     "vector, unknown"),
    ("linear\n\nlinear q=1", 3, "linear has no field 'q': it has weight_format"),
    ("linear m=1048576", 1, "m is 1048576: allowed is 0 to 1048575"),
    ("linear m=-1", 1, "m is -1: allowed is 0 to 1048575"),
    ("linear m=", 1, "m is : allowed is 0 to 1048575"),
    ("linear x=0x1000000000000", 1, "x is 0x1000000000000: allowed is 0 to 0xffffffffffff"),
    ("linear x_format=INT13", 1, "x_format is INT13: allowed is INT8, INT12, INT16, or 0 to 3"),
    ("linear m=1 m=1", 1, "m is given twice"),
    ("linear m", 1, "'m' is not field=value, last or after"),
    ("linear after", 1, "after what?"),
    ("linear after linear", 1, "after is 'linear': allowed are"),
    ("linear after linear x", 1, "after linear is x: allowed is 0 to 65535"),
    ("linear after linear 65536", 1, "after linear is 65536: allowed is 0 to 65535"),
    ("linear after b\nb: linear", 1, "after is 'b': allowed are"),
    ("a: linear\na: linear", 2, "label 'a' is given twice"),
    ("linear: linear", 1, "label is 'linear': allowed are"),
    ("1a: linear", 1, "label is '1a': allowed are"),
    ("a:", 1, "label 'a' stands alone"),
])
def test_mistakes_are_told(text, line, message):
    with pytest.raises(AssemblyError, match=re.escape(f"line {line}: {message}")) as caught:
        assemble(text)
    assert caught.value.line == line


def test_half_an_instruction():
    with pytest.raises(ValueError, match="a program has a multiple of 64 bytes, not 65"):
        disassemble(bytes(65))


# --- Faults -----------------------------------------------------------------------------------------------

BROKEN = assemble("setup\nlinear m=8 k=5 last after cache 1\nattention cached=1\nattention\nappend\n"
                  "cache op=FORK\nvector\n")


@pytest.mark.parametrize("index, code, unit, detail, address, told", [
    (1, StatusCode.BAD_FIELD, Unit.LINEAR.value, 7, 0, "field k"),
    (1, StatusCode.BAD_FIELD, declared.FETCH, 134, 0x1040, "field wait_cache\n  address 0x1040"),
    (2, StatusCode.BAD_ENTRY, 1, 11, 0x80, "field count\n  address 0x80"),
    (3, StatusCode.BAD_ENTRY, 1, 11, 0x80, "field keys\n  address 0x80"),
    (2, StatusCode.BAD_SEGMENT, 1, 4, 0x80, "field end\n  address 0x80"),
    (4, StatusCode.BAD_ENTRY, 2, 2, 0x80, "field zero_key\n  address 0x80"),
    (4, StatusCode.BAD_ROW, 2, 2, 0x80, "field offset\n  address 0x80"),
    (5, StatusCode.REFUSED, 3, 6, 0, "the cache says NOT_FORKABLE"),
    (0, StatusCode.BAD_FIELD, 3, 1, 0, "field geometry"),
    (6, StatusCode.BAD_FIELD, 4, 255, 0, "field 255, which there is not"),
    (6, StatusCode.GUARD_WRITE, 4, 0, 0x9000, "address 0x9000"),
])
def test_faults_are_told(index, code, unit, detail, address, told):
    fault = {"code": code.value, "unit": unit, "detail": detail, "address": address, "index": index,
             "instruction": 0x1000 + 64 * index}
    lines = explain(BROKEN, fault).split("\n  ")
    who = "fetch" if unit == declared.FETCH else Unit(unit).name.lower()
    where = f"instruction {index} at {0x1000 + 64 * index:#x}, unit {who}"
    assert lines[0] == f"{where}: {code.name}, {meanings.CODES[code]}"
    assert lines[1] == disassemble(BROKEN).splitlines()[index]
    assert "\n  ".join(lines[2:]) == told


# --- The reference ----------------------------------------------------------------------------------------

def test_everything_has_a_meaning():
    assert set(meanings.WHAT) == set(meanings.FIELDS) == set(KINDS)
    for name in KINDS:
        assert list(meanings.FIELDS[name]) == [member.name for member in MEMBERS[name]], name
    assert list(meanings.CODES) == list(StatusCode)
    assert list(meanings.HEADER) == [name for name, _ in declared.Instruction]
    assert SETUP_FIELDS == ("opcode", "geometry", "reserved")


@pytest.mark.parametrize("page", PAGES)
def test_page_is_up_to_date(page):
    assert (ROOT / "docs" / page).read_text() == PAGES[page](), "run `olivine isa reference`"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_header_compiles(tmp_path):
    """And says what the tables say."""
    (tmp_path / "olivine_registers.h").write_text(c_header())
    claims = [(register.name, register.offset) for register in REGISTERS]
    claims += [(f"{register.name}_{field.name.upper()}_MASK", ((1 << field.width) - 1) << field.low)
               for register in REGISTERS for field in register.fields]
    claims += [("WINDOW(3) + OLIVINE_WINDOW_LAST_HI", WINDOW_BASE + 3 * WINDOW_STRIDE + 12), ("CODE_ABORTED", 14),
               ("UNIT_VECTOR", 4), ("OPCODE_SETUP", 7), ("STATUS_INTERRUPT_SHIFT", 4)]
    source = '#include "olivine_registers.h"\n#include "olivine_registers.h"\n' + "".join(
        f'_Static_assert((OLIVINE_{name}) == {value}u, "{name}");\n' for name, value in claims)
    (tmp_path / "claims.c").write_text(source)
    done = subprocess.run(["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-c", "claims.c", "-o", "claims.o"],
                          cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- The command ------------------------------------------------------------------------------------------

def run(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["isa", *map(str, arguments)], prog_name="olivine")


def test_command_there_and_back(tmp_path):
    source, image = tmp_path / "program.txt", tmp_path / "program.bin"
    source.write_text("linear m=3 y=0x80\nscore last after linear 1\n")
    done = run("assemble", source, "-o", image)
    assert done.exit_code == 0 and "2 instructions, 128 bytes" in done.output
    assert run("disassemble", image).output == source.read_text()
    assert "0x00001040  attention 1" in run("disassemble", image, "--listing", "--address", "0x1000").output


def test_command_writes_the_reference(tmp_path):
    assert run("reference", "--out", tmp_path / "pages").exit_code == 0
    assert {path.name for path in (tmp_path / "pages").iterdir()} == set(PAGES)
    assert run("header", "-o", tmp_path / "o.h").exit_code == 0
    assert (tmp_path / "o.h").read_text() == c_header()


def test_command_tells_mistakes(tmp_path):
    source = tmp_path / "program.txt"
    source.write_text("linear\nlinear m=x\n")
    done = run("assemble", source, "-o", tmp_path / "o")
    assert done.exit_code == 2 and "olivine: line 2: m is x: allowed is 0 to 1048575" in done.stderr
    assert not (tmp_path / "o").exists()
    assert "there is no file" in run("disassemble", tmp_path / "none").stderr
    assert "--address is 'x'" in run("disassemble", source, "--address", "x").stderr
