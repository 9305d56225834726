"""The golden model of vector jobs: every operation by hand from its layout in memory, element by element."""

import struct
import time

import numpy as np
import pytest
from olivine.config import PRESETS
from olivine.control.job import StatusCode
from olivine.linear.descriptor import RowFormat
from olivine.vector.descriptor import (
    DESCRIPTOR_BITS,
    FIELDS,
    NO_INDEX,
    OPCODE_VECTOR,
    Norm,
    VectorDescriptor,
    VectorOp,
)
from olivine.vector.formats import Function
from olivine_golden.vector.job import bad_field, fields_of, run_vector

CONFIG = PRESETS["ecp5"]
P = CONFIG.rows
X, R, T, Y = 0x1000, 0x4000, 0x8000, 0xA000


class Memory:
    def __init__(self, size=1 << 16, seed=1):
        self.content = bytearray(np.random.default_rng(seed).bytes(size))

    def read(self, address, count):
        return bytes(self.content[address:address + count])

    def write(self, address, content):
        self.content[address:address + len(content)] = content

    def value(self, address, kind="h"):
        return struct.unpack_from("<" + kind, self.content, address)[0]

    def put(self, address, value, kind="h"):
        struct.pack_into("<" + kind, self.content, address, value)


def rsh(value, shift):
    return value + (1 << shift >> 1) >> shift


def sat(value, bits):
    return max(-1 << bits - 1, min((1 << bits - 1) - 1, value))


def word(base, group, channel, row, channels, size=2):
    """Address of an element."""
    return base + size * ((group * channels + channel) * P + row)


def places(groups, channels):
    return [(group, channel, row) for group in range(groups) for channel in range(channels) for row in range(P)]


def run(memory, op, **fields):
    before = bytes(memory.content)
    outcome = run_vector(CONFIG, {"op": op, **fields}, memory)
    assert outcome["code"] is StatusCode.OK, FIELDS[outcome["detail"]]
    return before, outcome


def unchanged(memory, before, *written):
    for at, (a, b) in enumerate(zip(memory.content, before)):
        assert a == b or any(start <= at < start + size for start, size in written), hex(at)


def test_addition():
    memory, channels = Memory(), 5
    for place in places(2, channels):
        memory.put(word(R, *place, channels, 4), memory.value(word(R, *place, channels, 4), "i") >> 8, "i")
    old = Memory()
    old.content[:] = memory.content
    before, outcome = run(memory, VectorOp.RESIDUAL, add=1, norm=Norm.NONE, groups=2, channels=channels, x=X, r=R,
                          mult=60000, shift=6, idle_rows=1)
    over = 0
    for group, channel, row in places(2, channels):
        total = (old.value(word(R, group, channel, row, channels, 4), "i")
                 + rsh(old.value(word(X, group, channel, row, channels)) * 60000, 6))
        over += total != sat(total, 24) and (group, row) != (1, P - 1)
        assert memory.value(word(R, group, channel, row, channels, 4), "i") == sat(total, 24)
    assert outcome["sat_sum"] == over > 0 and outcome["sat_output"] == 0
    unchanged(memory, before, (R, 2 * channels * P * 4))


def test_fresh_and_requantized():
    memory, channels = Memory(), 3
    before, outcome = run(memory, VectorOp.RESIDUAL, add=1, fresh=1, norm=Norm.REQUANTIZE, groups=1, channels=channels,
                          x=X, r=R, y=Y, mult=3, shift=1, out_mult=5, out_shift=4, format=RowFormat.INT12)
    for place in places(1, channels):
        residual = rsh(memory.value(word(X, *place, channels)) * 3, 1)
        assert memory.value(word(R, *place, channels, 4), "i") == residual
        assert memory.value(word(Y, *place, channels)) == sat(rsh(residual * 5, 4), 12)
    assert outcome["sat_output"] > 0
    unchanged(memory, before, (R, channels * P * 4), (Y, channels * P * 2))


@pytest.mark.parametrize("norm", [Norm.LAYER, Norm.RMS])
def test_norms_are_close_to_real_ones(norm):
    """The top byte of a container does not count; parameters are the channel's."""
    memory, channels = Memory(), 64
    before, _ = run(memory, VectorOp.RESIDUAL, norm=norm, groups=2, channels=channels, r=R, t=T, y=Y, out_shift=16,
                    format=RowFormat.INT16, reciprocal=round(2 ** 53 / channels), epsilon=100)
    for group in range(2):
        for row in range(P):
            x = [memory.value(word(R, group, channel, row, channels, 4), "I") & 0xFF_FFFF
                 for channel in range(channels)]
            x = np.array([value - (1 << 24) if value >> 23 else value for value in x], float)
            mean = x.mean() if norm is Norm.LAYER else 0
            normal = (x - mean) / np.sqrt(((x - mean) ** 2).mean())
            for channel in range(channels):
                gamma, beta = (memory.value(T + 4 * channel + at) for at in (0, 2))
                want = normal[channel] * gamma * 2 ** (18 - 16) / 16 + beta / 16
                assert abs(memory.value(word(Y, group, channel, row, channels)) - want) < abs(want) / 1000 + 2
    unchanged(memory, before, (Y, 2 * channels * P * 2))


def test_activation_and_gate():
    memory, channels = Memory(), 4
    before, _ = run(memory, VectorOp.ACTIVATE, function=Function.RELU, fraction=12, groups=1, channels=channels, x=X,
                    y=Y, mult=1 << 11, shift=11, format=RowFormat.INT8)
    for place in places(1, channels):
        assert memory.value(word(Y, *place, channels)) == sat(max(memory.value(word(X, *place, channels)), 0), 8)
    unchanged(memory, before, (Y, channels * P * 2))
    run(memory, VectorOp.GATE, groups=1, channels=channels, x=X, r=R, y=Y, shift=14, format=RowFormat.INT16)
    for place in places(1, channels):
        product = memory.value(word(X, *place, channels)) * memory.value(word(R, *place, channels))
        assert memory.value(word(Y, *place, channels)) == sat(rsh(product, 14), 16)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotation(interleaved):
    """Of three heads of seven dims two pairs turn."""
    memory, dims, heads, pairs = Memory(), 7, 3, 2
    before, _ = run(memory, VectorOp.ROTATE, groups=2, channels=dims, heads=heads, pairs=pairs, x=X, r=R, y=Y,
                    interleaved=interleaved)
    for group in range(2):
        for head in range(heads):
            for row in range(P):
                x, y = ([memory.value(word(base, group, head * dims + dim, row, heads * dims)) for dim in range(dims)]
                        for base in (X, Y))
                stay = set(range(dims))
                for pair in range(pairs):
                    first, second = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + pairs)
                    stay -= {first, second}
                    cos, sin = (memory.value(word(R, group, 2 * pair + side, row, 2 * pairs)) for side in range(2))
                    assert y[first] == sat(rsh(x[first] * cos - x[second] * sin, 14), 16)
                    assert y[second] == sat(rsh(x[second] * cos + x[first] * sin, 14), 16)
                assert all(x[dim] == y[dim] for dim in stay)
    unchanged(memory, before, (Y, 2 * heads * dims * P * 2))


def test_gather():
    """A table's rows of 5 channels begin every 16 bytes; rows may come twice or not at all."""
    memory, channels = Memory(), 5
    indices = [3, NO_INDEX, 0, 3, 1, 2, 7, NO_INDEX]
    for row, index in enumerate(indices):
        memory.put(T + 4 * row, index, "I")
    before, _ = run(memory, VectorOp.GATHER, groups=2, channels=channels, x=X, t=T, y=Y)
    for group, channel, row in places(2, channels):
        index = indices[group * P + row]
        want = 0 if index == NO_INDEX else memory.value(X + 16 * index + 2 * channel)
        assert memory.value(word(Y, group, channel, row, channels)) == want
    unchanged(memory, before, (Y, 2 * channels * P * 2))


@pytest.mark.parametrize("channels", [5, 40])
def test_largest(channels):
    memory = Memory()
    for place in places(2, channels):
        memory.put(word(X, *place, channels), memory.value(word(X, *place, channels)) >> 12)
    before, _ = run(memory, VectorOp.LARGEST, groups=2, channels=channels, x=X, y=Y)
    for group in range(2):
        for row in range(P):
            found = sorted((-memory.value(word(X, group, channel, row, channels)), channel)
                           for channel in range(channels))
            found = [*((-value, index) for value, index in found), *[(-1 << 15, NO_INDEX)] * 8][:8]
            for place, (value, index) in enumerate(found):
                at = Y + 64 * (group * P + row) + 8 * place
                assert (memory.value(at, "i"), memory.value(at + 4, "I")) == (value, index)
    unchanged(memory, before, (Y, 2 * P * 64))


def test_lanes():
    memory, channels = Memory(), 3
    before, _ = run(memory, VectorOp.LANES, groups=2, channels=channels, x=X, y=Y, rotation=3, first_lane=1,
                    last_lane=2)
    for group, channel, row in places(2, channels):
        at = word(Y, group, channel, row, channels)
        old = struct.unpack_from("<h", before, at)[0]
        want = memory.value(word(X, group, channel, (row - 3) % P, channels)) if 1 <= row <= 2 else old
        assert memory.value(at) == want


LEGAL = {
    VectorOp.RESIDUAL: {"add": 1, "norm": Norm.LAYER, "groups": 1, "channels": 4, "x": X, "r": R, "t": T, "y": Y,
                        "out_shift": 14, "reciprocal": 1 << 51},
    VectorOp.ACTIVATE: {"fraction": 8, "groups": 1, "channels": 4, "x": X, "y": Y, "mult": 1},
    VectorOp.ROTATE: {"groups": 1, "channels": 4, "heads": 1, "pairs": 2, "x": X, "r": R, "y": Y},
    VectorOp.LANES: {"groups": 1, "channels": 4, "x": X, "y": Y, "first_lane": 1, "last_lane": 1},
}


@pytest.mark.parametrize("op, field, value", [
    (VectorOp.LANES, "opcode", 1), (VectorOp.LANES, "op", 7), (VectorOp.RESIDUAL, "norm", 0),
    (VectorOp.RESIDUAL, "format", 3), (VectorOp.ACTIVATE, "function", 5), (VectorOp.ACTIVATE, "fraction", 7),
    (VectorOp.ACTIVATE, "fraction", 13), (VectorOp.ACTIVATE, "groups", 0), (VectorOp.ACTIVATE, "groups", 9),
    (VectorOp.ACTIVATE, "idle_rows", P), (VectorOp.ACTIVATE, "channels", 0), (VectorOp.RESIDUAL, "channels", 4097),
    (VectorOp.ROTATE, "channels", CONFIG.max_head_dim + 1), (VectorOp.ROTATE, "heads", 0),
    (VectorOp.ROTATE, "pairs", 3),
    (VectorOp.LANES, "x", X + 2), (VectorOp.LANES, "y", 1 << 32), (VectorOp.RESIDUAL, "reciprocal", (1 << 53) + 1),
    (VectorOp.LANES, "rotation", P), (VectorOp.LANES, "first_lane", P), (VectorOp.LANES, "last_lane", 0),
    (VectorOp.LANES, "reserved", 1), (VectorOp.LANES, "mult", 1), (VectorOp.RESIDUAL, "out_mult", 1),
])
def test_illegal_fields(op, field, value):
    job = fields_of({"op": op, **LEGAL[op]})
    assert bad_field(CONFIG, job) is None
    if field == "norm":
        job["add"] = 0
    job[field] = value
    memory = Memory()
    before = bytes(memory.content)
    bits = sum(job[name] << place.offset for name, place in VectorDescriptor)
    outcome = run_vector(CONFIG, bits, memory)
    assert outcome["code"] is StatusCode.BAD_FIELD and FIELDS[outcome["detail"]] == field
    assert memory.content == before


def test_descriptors():
    assert fields_of({"op": 3, "y": 5}) == {**dict.fromkeys(FIELDS, 0), "opcode": OPCODE_VECTOR, "op": 3, "y": 5}
    with pytest.raises(ValueError, match="no fields"):
        fields_of({"z": 1})
    with pytest.raises(ValueError, match=f"a descriptor has {DESCRIPTOR_BITS} bits"):
        fields_of(1 << DESCRIPTOR_BITS)


def test_long_rows_take_milliseconds():
    """Generous: a loop over elements would take seconds."""
    memory = Memory(1 << 20)
    began = time.process_time()
    run_vector(CONFIG, {"op": VectorOp.RESIDUAL, "add": 1, "norm": Norm.LAYER, "groups": 4, "channels": 4096, "x": 0,
                        "r": 1 << 18, "t": 0, "y": 1 << 19, "mult": 1, "out_shift": 14, "reciprocal": 1 << 41}, memory)
    assert time.process_time() - began < .5
