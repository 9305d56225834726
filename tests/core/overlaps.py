"""Programs in which one instruction reads or writes what another one writes, and does not wait for it: what they give
is undefined, and only where they may have written is known."""

from itertools import product

from olivine.attention.descriptor import ENTRY_BYTES, OPCODE_SCORE, AttentionDescriptor, CachedGroup, OutputFormat
from olivine.control.instruction import OPCODES, Instruction, Unit
from olivine.kvcache.append.descriptor import ROW_BYTES, SCALES_BYTES, AppendDescriptor
from olivine.linear.descriptor import LinearDescriptor, RowFormat
from olivine.vector.descriptor import OPCODE_VECTOR, VectorOp
from olivine_golden.cache_image import fields_of
from olivine_golden.vector.job import fields_of as vector_fields

__all__ = ["entries_of", "reads_of", "writes_of", "undefined"]

HEADS = 1 << 60
"""Where the keys and values of head h lie, as an address: ``HEADS + h``, one byte, for all sequences."""

OPS = {op.value for op in VectorOp}


def entries_of(arena, payload):
    """An attention job and its entries."""
    fields = fields_of(AttentionDescriptor, payload)
    places = (fields["table"] + index * ENTRY_BYTES for index in range(min(fields["groups"], 64)))
    return fields, [fields_of(CachedGroup, int.from_bytes(arena.get(at, ENTRY_BYTES), "little")) for at in places]


def _attention_bytes(arena, fields, entry, stride):
    """Of queries or results of a group; partial results are the largest."""
    heads, dim, rows = max(fields["heads"], 1), fields["head_dim"], arena.config.rows
    if entry["batch"]:
        groups = -(-(entry["lane"] + -(-entry["rows"] // heads)) // rows)
        return (max(groups - 1, 0) * stride + heads * dim) * arena.word
    words = 3 + 3 * dim if fields["o_format"] == OutputFormat.PARTIAL.value else dim
    return -(-entry["rows"] // rows) * words * arena.word


def _vector_bytes(arena, fields):
    return fields["groups"] * fields["channels"] * max(fields["heads"], 1) * arena.word


def writes_of(arena, payload):
    """(address, size) of what an instruction may write; of the cache the heads."""
    unit = OPCODES.get(payload & 0xff)
    if unit is Unit.LINEAR:
        fields = fields_of(LinearDescriptor, payload)
        size = 1 if fields["y_format"] == RowFormat.INT8.value else 2
        return [(fields["y"], fields["m"] * fields["n"] * size)]
    if payload & 0xff == OPCODE_VECTOR:
        fields = vector_fields(payload)
        words, op = _vector_bytes(arena, fields), VectorOp(fields["op"]) if fields["op"] in OPS else None
        if op is VectorOp.RESIDUAL:
            return [(fields["y"], words * bool(fields["norm"])), (fields["r"], 2 * words * fields["add"])]
        return [(fields["y"], fields["groups"] * arena.config.rows * 64 if op is VectorOp.LARGEST else words)]
    if unit is Unit.ATTENTION:
        fields, entries = entries_of(arena, payload)
        return [region for entry in entries for region in (
            (entry["o"], _attention_bytes(arena, fields, entry, entry["o_words"])),
            (entry["lse"], 4 * entry["rows"] * fields["lse"]))]
    if unit is Unit.APPEND:
        fields = fields_of(AppendDescriptor, payload)
        return [(HEADS + fields["first_head"], fields["heads"])]
    return []


def reads_of(arena, payload):
    """(address, size, whether it may be read before what the instruction waits for is complete), sizes from above."""
    unit = OPCODES.get(payload & 0xff)
    if unit is Unit.LINEAR:
        fields = fields_of(LinearDescriptor, payload)
        return [(fields["x"], 2 * (fields["m"] + arena.config.rows) * fields["k"], False),
                (fields["w"], 2 * (fields["n"] + arena.config.lanes) * (fields["k"] + 16), True)]
    if payload & 0xff == OPCODE_VECTOR:
        fields = vector_fields(payload)
        words, op = _vector_bytes(arena, fields), VectorOp(fields["op"]) if fields["op"] in OPS else None
        found = [(fields["x"], words, op is VectorOp.GATHER)]
        if op in (VectorOp.RESIDUAL, VectorOp.GATE, VectorOp.ROTATE):
            found.append((fields["r"], 2 * words if op is VectorOp.RESIDUAL else words, False))
        if op in (VectorOp.RESIDUAL, VectorOp.GATHER):
            found.append((fields["t"], 4 * max(fields["channels"], fields["groups"] * arena.config.rows), True))
        return found
    if unit is Unit.ATTENTION:
        fields, entries = entries_of(arena, payload)
        found = [(fields["table"], fields["groups"] * ENTRY_BYTES, True)]
        for entry in entries:
            found += [(HEADS + entry["head"], 1, False),
                      (entry["q"], _attention_bytes(arena, fields, entry, entry["q_words"]), False),
                      (entry["lse"], 4 * entry["rows"] * (payload & 0xff == OPCODE_SCORE), False)]
        return found
    if unit is Unit.APPEND:
        fields = fields_of(AppendDescriptor, payload)
        row = fields["heads"] * arena.geometry["head_dim"]
        size = (max(-(-fields["rows"] // arena.config.rows) - 1, 0) * (fields["channels"] or row) + row) * arena.word
        return [(fields["keys"], size, False), (fields["values"], size, False),
                (fields["table"], fields["rows"] * ROW_BYTES, True),
                (fields["scales"], fields["heads"] * SCALES_BYTES, True)]
    return []


def _meet(one, other):
    return one[0] < other[0] + other[1] and other[0] < one[0] + one[1]


def undefined(arena, program):
    """Whether there is such a pair, or an instruction that overwrites what it still has to read."""
    seen, numbers = [], dict.fromkeys(Unit, 0)
    for at in range(0, len(program) // 64 * 64, 64):
        bits = int.from_bytes(program[at:at + 64], "little")
        word = fields_of(Instruction, bits)
        payload, unit = word["payload"], OPCODES.get(word["payload"] & 0xff)
        if unit is None:
            break
        reads, writes = reads_of(arena, payload), writes_of(arena, payload)
        in_place = unit is Unit.VECTOR
        if any(_meet(read, write) and not (in_place and read[0] == write[0]) for read, write in product(reads, writes)):
            return True
        waits = [word["waits"] >> 16 * other.value & 0xffff for other in Unit]
        ordered = set()
        for index, (other, number, before, _, _) in enumerate(seen):
            if number < waits[other.value]:
                ordered |= {index} | before
        for index, (other, _, _, their_reads, their_writes) in enumerate(seen):
            if index in ordered:
                continue
            mine = [read for read in reads if read[2]] if other is unit else [*reads, *writes]
            if any(_meet(one, write) for one, write in product(mine, their_writes)):
                return True
            if other is not unit and any(_meet(read, write) for read, write in product(their_reads, writes)):
                return True
        seen.append((unit, numbers[unit], ordered, reads, writes))
        numbers[unit] += 1
    return False
