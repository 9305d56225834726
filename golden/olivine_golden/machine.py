"""Golden model of the whole core: programs on a memory image, one instruction after the other.

An instruction sees what all before it wrote. The gateware, which overlaps them, must leave the same memory if every
instruction waits for those whose results it needs (and for those that read what it overwrites). Windows, bus errors
and timeouts are not modelled.
"""

import mmap
from dataclasses import dataclass

import numpy as np
from olivine.control.instruction import (
    FETCH,
    FIELDS,
    HEADER_DETAIL,
    INSTRUCTION_BYTES,
    LONG_UNITS,
    OPCODES,
    SHORT_BITS,
    VERSION,
    Instruction,
    Unit,
)
from olivine.control.job import TALLIES, StatusCode
from olivine.core.descriptor import OPCODE_SETUP, SetupDescriptor
from olivine.kvcache.descriptor import CacheGeometry
from olivine.linear.descriptor import FIELDS as LINEAR_FIELDS
from olivine.linear.descriptor import (
    RECORD_BYTES,
    Group,
    LinearDescriptor,
    RowFormat,
    panel_bytes,
    run_steps,
)
from olivine.olive.formats import LaneFormat
from olivine.vector.descriptor import FIELDS as VECTOR_FIELDS

from .cache_image import fields_of, pack_rows, read_rows
from .cache_system import CacheSystem, Status
from .linear import LinearWeights, linear
from .plan import illegal_field
from .vector.job import run_vector

__all__ = ["Ended", "Memory", "Machine", "read_weights"]


class Memory(mmap.mmap):
    """An address space: a bytearray of which only what was touched takes room.

    Parameters
    ----------
    addr_width : int
        At most 34.
    """

    def __new__(cls, addr_width):
        return super().__new__(cls, -1, 1 << addr_width)


class _View:
    """What a vector job reads and writes through."""

    def __init__(self, memory):
        self.memory = memory

    def read(self, address, size):
        return self.memory[address:address + size]

    def write(self, address, content):
        self.memory[address:address + len(content)] = bytes(content)


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Parameters
    ----------
    code : StatusCode
    unit : int
        That failed, `Unit` or FETCH; 0 if none.
    index, detail, address : int
        Of the instruction that failed: its number, and as of a status.
    completed : dict of Unit to int
    result : int
        Answer of the last cache operation.
    tallies : dict
    """

    code: StatusCode
    unit: int = 0
    index: int = 0
    detail: int = 0
    address: int = 0
    completed: dict | None = None
    result: int = 0
    tallies: dict | None = None


def read_weights(memory, config, fields):
    """`LinearWeights` of a linear job, from its panels: the inverse of packing them."""
    k, n, lanes = fields["k"], fields["n"], config.lanes
    lane_format, group = LaneFormat(fields["weight_format"]), Group(fields["group"])
    size = panel_bytes(lanes, k, lane_format, group)
    panels = -(-n // lanes)
    image = np.frombuffer(memory, np.uint8, panels * size, fields["w"]).reshape(panels, size)
    records = np.ascontiguousarray(image[:, :lanes * RECORD_BYTES]).view(
        np.dtype([("bias", "<i4"), ("mult", "<u2"), ("shift", "u1"), ("zero", "u1")])).reshape(-1)[:n]
    run, at, codes, multipliers = run_steps(group), lanes * RECORD_BYTES, [], []
    for start in range(0, k, run):
        steps = min(run, k - start)
        words = steps if lane_format is LaneFormat.INT8 else (steps + 1) // 2
        part = image[:, at:at + words * lanes].reshape(panels, words, lanes)
        at += words * lanes
        if lane_format is not LaneFormat.INT8:
            part = np.stack([part >> 4, part & 15], axis=2).reshape(panels, 2 * words, lanes)[:, :steps]
        codes.append(part.transpose(1, 0, 2).reshape(steps, -1)[:, :n])
        if group is not Group.CHANNEL:
            multipliers.append(image[:, at:at + lanes].reshape(-1)[:n])
            at += lanes
    return LinearWeights(lane_format, group, np.concatenate(codes), np.stack(multipliers) if multipliers else None,
                         fields["group_shift"], records["bias"].astype(np.int32), records["mult"].astype(np.uint16),
                         records["shift"].astype(np.uint8))


class Machine:
    """The core on a memory image.

    Parameters
    ----------
    config : AcceleratorConfig
    memory : Memory or bytearray
        Of the whole address space, the scratchpad's window included.
    """

    def __init__(self, config, memory=None):
        self.config = config
        self.memory = Memory(config.addr_width) if memory is None else memory
        self.cache = None

    def run(self, address, length):
        """Run a program; returns how it `Ended`."""
        completed = dict.fromkeys(Unit, 0)
        tallies, result = dict.fromkeys(TALLIES, 0), 0
        for index in range(length):
            at = address + index * INSTRUCTION_BYTES
            image = self.memory[at:at + INSTRUCTION_BYTES]
            bits = int.from_bytes(image, "little")
            header = fields_of(Instruction, bits)
            if name := self._illegal(header, bits, completed):
                return Ended(StatusCode.BAD_FIELD, FETCH, index, HEADER_DETAIL + FIELDS.index(name), at, completed,
                             result, tallies)
            unit = OPCODES[header["payload"] & 0xff]
            status = self.execute(header["payload"])
            for name, count in status.tallies.items():
                tallies[name] += count
            if not status.ok:
                return Ended(status.code, unit.value, index, status.detail, status.address, completed, result, tallies)
            completed[unit] += 1
            if unit is Unit.CACHE:
                result = status.handle.slot | status.handle.generation << 16 if status.handle else 0
            if header["last"]:
                break
        return Ended(StatusCode.OK, completed=completed, result=result, tallies=tallies)

    def _illegal(self, header, bits, completed):
        waits = bits >> Instruction["waits"].offset
        opcode = header["payload"] & 0xff
        illegal = {"version": header["version"] != VERSION, "zero_flags": header["zero_flags"] != 0,
                   **{f"wait_{unit.name.lower()}": waits >> 16 * unit.value & 0xffff > completed[unit]
                      for unit in Unit},
                   "opcode": opcode not in OPCODES,
                   "zero_payload": opcode in OPCODES and OPCODES[opcode] not in LONG_UNITS
                   and header["payload"] >> SHORT_BITS != 0}
        return next((name for name in FIELDS if illegal.get(name)), None)

    def execute(self, payload):
        """Run one descriptor; returns its `Status`."""
        unit = OPCODES[payload & 0xff]
        if unit is Unit.LINEAR:
            return self._linear(fields_of(LinearDescriptor, payload))
        if unit is Unit.VECTOR:
            return self._vector(payload)
        if payload & 0xff == OPCODE_SETUP:
            return self._set_up(payload)
        if self.cache is None:
            self.cache = CacheSystem(self.config, dict.fromkeys((name for name, _ in CacheGeometry), 0), self.memory)
        return self.cache.run(payload)

    def _linear(self, fields):
        if name := illegal_field(self.config, fields):
            return Status(StatusCode.BAD_FIELD, LINEAR_FIELDS.index(name))
        x_format, y_format = RowFormat(fields["x_format"]), RowFormat(fields["y_format"])
        x = read_rows(self.memory, fields["x"], fields["m"], fields["k"], self.config.rows, x_format.bytes)
        passes = -(-fields["m"] // self.config.chunk_rows)
        y, tallies = linear(x, read_weights(self.memory, self.config, fields), y_format, passes)
        content = pack_rows(y, self.config.rows, y_format.bytes)
        self.memory[fields["y"]:fields["y"] + len(content)] = content
        return Status(StatusCode.OK, tallies=tallies)

    def _vector(self, payload):
        made = run_vector(self.config, payload, _View(self.memory))
        code = StatusCode(made["code"])
        assert made.get("detail", 0) < len(VECTOR_FIELDS)
        return Status(code, made.get("detail", 0), tallies={name: made[name] for name in TALLIES if name in made})

    def _set_up(self, payload):
        geometry = fields_of(CacheGeometry, payload >> 8)
        if self.cache is not None and any(self.cache.cache.slots):
            return self.cache.run(payload)
        if fields_of(SetupDescriptor, payload)["reserved"]:
            return Status(StatusCode.BAD_FIELD, 2)
        self.cache = CacheSystem(self.config, geometry, self.memory)
        return Status(StatusCode.OK)
