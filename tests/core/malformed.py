"""Programs that went wrong in memory: bits flipped in headers, descriptors and tables, or garbage in their place."""

import copy

from olivine.attention.descriptor import ENTRY_BYTES, AttentionDescriptor
from olivine.control.instruction import FETCH, FIELDS, HEADER_DETAIL, OPCODES, SHORT_BITS, Instruction, Unit
from olivine.control.job import StatusCode
from olivine.kvcache.descriptor import BLOCK_UNIT, CacheStatus
from olivine.linear.descriptor import LinearDescriptor
from olivine_golden.cache_image import fields_of
from olivine_golden.vector.job import fields_of as vector_fields

from .overlaps import entries_of, reads_of, undefined, writes_of

__all__ = ["GUARDED", "Snapshot", "Unmodelled", "Verdict", "destinations", "fault_of_moves", "judge", "racy",
           "reach", "spoil"]

GUARDED = {StatusCode.GUARD_READ, StatusCode.GUARD_WRITE}
"""Golden has no windows: there, it is only looked at whether the address is outside of them."""

WORK = 1 << 18
"""Elements of the largest job that golden is bothered with."""

PAYLOAD = Instruction["payload"].offset


class Unmodelled(Exception):
    """Golden does not know."""


class Snapshot:
    """Golden's state."""

    def __init__(self, arena):
        self.memory, self.scratch = arena.image(), arena.get(*arena.scratch)
        cache = arena.machine.cache.cache
        self.cache = copy.deepcopy({name: value for name, value in vars(cache).items() if name != "mover"})
        self.live = list(arena.live)

    def restore(self, arena):
        arena.put(0, self.memory)
        arena.put(arena.scratch[0], self.scratch)
        vars(arena.machine.cache.cache).update(copy.deepcopy(self.cache))
        arena.live = list(self.live)


def spoil(rng, program, tables, used):
    """Flip bits of a program, or of the part of the tables that is used; returns both."""
    program, tables = bytearray(program), bytearray(tables)
    kind = rng.choice(("header", "descriptor", "descriptor", "table", "table", "garbage"))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(program) // 64) * 512
        if kind == "garbage":
            size = rng.choice((4, 32, 52))
            first = at // 8 + 64 - size
            program[first:first + size] = rng.randbytes(size)
        elif kind == "table" and used:
            bit = rng.randrange(8 * used)
            tables[bit // 8] ^= 1 << bit % 8
        else:
            bit = at + (rng.randrange(PAYLOAD) if kind == "header" else rng.randrange(PAYLOAD, PAYLOAD + SHORT_BITS))
            program[bit // 8] ^= 1 << bit % 8
    return bytes(program), bytes(tables)


def racy(arena, before, after):
    """Whether an instruction waits for less than it did, or is another one, or meets one that it does not wait for."""
    for at in range(0, len(before), 64):
        old, new = (fields_of(Instruction, int.from_bytes(image[at:at + 64], "little")) for image in (before, after))
        waits = [[word["waits"] >> 16 * unit.value & 0xffff for unit in Unit] for word in (old, new)]
        if any(less < enough for less, enough in zip(waits[1], waits[0])):
            return True
    return undefined(arena, after)


def reach(arena, program, index):
    """Bytes behind the address of a refused request that it may have asked for."""
    payload = int.from_bytes(program[64 * index:64 * index + 64], "little") >> PAYLOAD
    sizes = [region[1] for region in (*reads_of(arena, payload), *writes_of(arena, payload))]
    return max(sizes, default=0)


class Verdict:
    """What golden says: ``code``, ``unit``, ``index``, ``detail``; ``code`` is None at an instruction that it does not
    know."""

    def __init__(self, code, unit=0, index=0, detail=0):
        self.code, self.unit, self.index, self.detail = code, unit, index, detail

    def __repr__(self):
        return f"{self.code} of unit {self.unit} at {self.index}, detail {self.detail}"


def judge(arena, program, stop=None):
    """Run a program on golden, up to instruction ``stop``."""
    machine, completed = arena.machine, dict.fromkeys(Unit, 0)
    count = len(program) // 64
    for index in range(count if stop is None else stop):
        bits = int.from_bytes(program[64 * index:64 * index + 64], "little")
        header = fields_of(Instruction, bits)
        if name := machine._illegal(header, bits, completed):
            return Verdict(StatusCode.BAD_FIELD, FETCH, index, HEADER_DETAIL + FIELDS.index(name))
        unit = OPCODES[header["payload"] & 0xff]
        try:
            _bearable(arena, unit, header["payload"])
            status = machine.execute(header["payload"])
        except (Unmodelled, ValueError, KeyError, IndexError, OverflowError, MemoryError, AssertionError, TypeError):
            return Verdict(None, unit.value, index)
        if not status.ok:
            return Verdict(status.code, unit.value, index, status.detail)
        completed[unit] += 1
        if header["last"]:
            break
    return Verdict(StatusCode.OK)


def _bearable(arena, unit, payload):
    """Raise `Unmodelled` for jobs that take golden too long, or that go where it has no memory."""
    if unit is Unit.LINEAR:
        fields = fields_of(LinearDescriptor, payload)
        if fields["m"] * (fields["k"] + fields["n"]) + fields["k"] * fields["n"] > WORK:
            raise Unmodelled
    elif unit is Unit.VECTOR:
        fields = vector_fields(payload)
        if fields["channels"] * max(fields["heads"], 1) * max(fields["groups"], 1) > WORK:
            raise Unmodelled
    elif unit is Unit.ATTENTION:
        fields = fields_of(AttentionDescriptor, payload)
        if fields["groups"] > 16 or fields["table"] + 16 * ENTRY_BYTES > len(arena.machine.memory):
            raise Unmodelled
        if any(entry["rows"] > 512 for entry in entries_of(arena, payload)[1]):
            raise Unmodelled


def destinations(arena, program, first):
    """(address, size) of what instructions from ``first`` on may have written."""
    found = []
    for index in range(first, len(program) // 64):
        payload = int.from_bytes(program[64 * index:64 * index + 64], "little") >> PAYLOAD
        found += writes_of(arena, payload)
        if OPCODES.get(payload & 0xff) in (Unit.APPEND, Unit.CACHE, Unit.ATTENTION):
            found += _contents(arena)
    return found


def _contents(arena):
    """All blocks and records of sequences that the spoilt program was about."""
    geometry, cache = arena.geometry, arena.machine.cache.cache
    kept = {block for slot in arena.untouched for block in cache.slots[slot].table if block is not None}
    size = geometry["block_units"] * BLOCK_UNIT
    found = [(geometry["base"] + block * size, size) for block in range(geometry["blocks"]) if block not in kept]
    record = geometry["heads"] * 8 << geometry["log_cells"]
    return found + [(geometry["records"] + slot * record, record) for slot in range(arena.config.sequences)
                    if slot not in arena.untouched]


def fault_of_moves(outcome):
    """An operation on the cache whose copying was refused by the windows: golden would have copied."""
    return outcome.code is StatusCode.REFUSED and outcome.detail == CacheStatus.FAULT.value
