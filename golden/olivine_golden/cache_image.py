"""What jobs over the cache read and write, as bytes of a memory image."""

import numpy as np
from olivine.attention.descriptor import PARTIAL_HEADER, PARTIAL_PLANES
from olivine.kvcache.page import key_bytes, value_blocks
from olivine.olive.formats import LaneFormat

__all__ = ["fields_of", "read_fields", "read_rows", "pack_rows", "pack_partial", "batch_places", "read_page"]


def fields_of(layout, value):
    """Fields of a word by name, as integers."""
    fields = {}
    for name, field in layout:
        number = value >> field.offset & (1 << field.width) - 1
        if getattr(field.shape, "signed", False) and number >> field.width - 1:
            number -= 1 << field.width
        fields[name] = number
    return fields


def read_fields(layout, memory, address):
    """The same of a word in memory."""
    end = address + layout.size // 8
    if end > len(memory):
        raise ValueError(f"a job reads up to byte {end:#x}: memory has {len(memory):#x}")
    return fields_of(layout, int.from_bytes(memory[address:end], "little"))


def read_rows(memory, address, rows, width, group, size):
    """``[row group][width][group]`` signed integers of ``size`` bytes as int64 [rows, width]; of the last row group
    only rows that exist."""
    flat = np.frombuffer(memory, f"<i{size}", rows * width, address)
    return np.concatenate([flat[first * width:min(first + group, rows) * width].reshape(width, -1).T
                           for first in range(0, rows, group)]).astype(np.int64)


def pack_rows(array, group, size):
    """Inverse of `read_rows`, bytes."""
    return b"".join(np.ascontiguousarray(array[first:first + group].T, f"<i{size}").tobytes()
                    for first in range(0, len(array), group))


def pack_partial(partial, group):
    """Partial results, ``[row group][3 + 3 d][group]`` int16."""
    rows, dims = partial.o.shape
    words = np.empty((rows, PARTIAL_HEADER + PARTIAL_PLANES * dims), np.int64)
    words[:, 0], words[:, 1], words[:, 2] = partial.m, partial.l, partial.l >> 16
    for plane in range(PARTIAL_PLANES):
        words[:, PARTIAL_HEADER + plane::PARTIAL_PLANES] = partial.o >> 16 * plane
    return pack_rows((words + 0x8000 & 0xffff) - 0x8000, group, 2)


def batch_places(address, rows, heads, width, group, *, lane, words):
    """Byte addresses [rows, width] of the int16 containers of a `CachedGroup` that lies in a batch.

    ``address``, ``lane``, ``words``: of its first word, its first lane, words of a row group of the batch; ``group``
    rows in a word.
    """
    row, dim = np.arange(rows)[:, None], np.arange(width)
    if heads > 1:
        word, lanes = row * width + dim, np.full((rows, 1), lane)
    else:
        word, lanes = (lane + row) // group * words + dim, (lane + row) % group
    return address + 2 * (word * group + lanes)


def _nibbles(array):
    """The bytes of the last axis as two codes each, the first in the high nibble."""
    return np.stack([array >> 4, array & 15], axis=-1).reshape(*array.shape[:-1], -1)


def read_page(memory, address, count, *, lanes, bus_bytes, head_dim, key_format, value_format):
    """The first ``count`` keys and values of a page, codes uint8 [count, d] each."""
    size = key_bytes(lanes, head_dim, key_format)
    keys = np.frombuffer(memory, np.uint8, size, address).reshape(lanes // bus_bytes, -1, bus_bytes)
    keys = keys.transpose(0, 2, 1).reshape(lanes, -1)[:count]
    address += size
    parts = []
    for dims, beats in value_blocks(lanes, bus_bytes, head_dim, value_format):
        block = np.frombuffer(memory, np.uint8, lanes * beats * bus_bytes, address).reshape(lanes, -1)
        parts.append(block[:count, :dims * value_format.bits // 8])
        address += block.size
    values = np.concatenate(parts, axis=1)
    return (keys.copy() if key_format is LaneFormat.INT8 else _nibbles(keys),
            values if value_format is LaneFormat.INT8 else _nibbles(values))
