"""A page of the key-value cache: L places of one layer and KV head. What lies where in it, and how large it is.

L lanes, B bytes of a beat, d the head dimension. Keys first, then values:

    keys: ``[L/B][d][B keys]`` bytes in 8 bit, ``[L/B][d/2][B keys]`` in 4 bit (a byte holds two consecutive
    dims of one key, the first in the high nibble). ``[L/B]`` are the page's sub-blocks.

    values: for each L dims in turn, ``[L keys][those dims]`` in 8 bit; in 4 bit a byte holds two
    consecutive dims of one key. Each key takes whole beats (the last dims may be padded).
"""

__all__ = ["key_bytes", "value_blocks", "page_bytes"]


def key_bytes(lanes, head_dim, key_format):
    """Bytes of a page's keys; its values follow."""
    return lanes * head_dim * key_format.bits // 8


def value_blocks(lanes, bus_bytes, head_dim, value_format):
    """``[(dims, beats of one key)]`` of each block of up to L dims of a page's values."""
    blocks = []
    for first in range(0, head_dim, lanes):
        dims = min(lanes, head_dim - first)
        blocks.append((dims, -(-dims * value_format.bits // (8 * bus_bytes))))
    return blocks


def page_bytes(lanes, bus_bytes, head_dim, key_format, value_format):
    """Bytes of a page, keys and values."""
    values = sum(beats for _, beats in value_blocks(lanes, bus_bytes, head_dim, value_format))
    return key_bytes(lanes, head_dim, key_format) + lanes * bus_bytes * values
