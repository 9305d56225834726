"""What every field of every instruction means, and every status code: text for the reference.

Layouts and numbers are the descriptors' own (`layouts`); tests see to it that no field is missing here.
"""

from olivine.control.job import StatusCode

__all__ = ["WHAT", "HEADER", "FIELDS", "CODES"]

WHAT = {
    "linear": "`y = requantize(x @ w + bias)`. Layouts in memory: `hw/olivine/linear/descriptor.py`.",
    "attention": "Attention of the groups of a table. Layouts in memory, and the table's entries: "
                 "`hw/olivine/attention/descriptor.py`.",
    "merge": "Merges partial results of the same rows over different keys.",
    "score": "Adds the probabilities that rows give to heavy-hitter keys to the keys' sums.",
    "append": "Writes one layer's keys and values of a step into the pages of their sequences. Layouts in memory: "
              "`hw/olivine/kvcache/append/descriptor.py`.",
    "cache": "An operation on a sequence of the key-value cache. OPEN and FORK answer in the register RESULT.",
    "setup": "Says where the key-value cache lies. While sequences are open, one with another geometry is refused.",
    "vector": "What happens to activations between linear layers and attention. Operations, the fields that each uses, "
              "and layouts in memory: `hw/olivine/vector/descriptor.py`.",
}
"""By name of the instruction."""

HEADER = {
    "version": "of the instruction's format, 1",
    "last": "the program ends with this instruction",
    "zero_flags": "must be 0",
    "waits": "for each unit, how many of its instructions, counted from the program's first, must be complete before "
             "this one reads rows; at most those that come before it",
    "payload": "the descriptor: its opcode in the low 8 bits; what a descriptor of 256 bits leaves is 0",
}

_RESERVED = "must be 0"
_SLOT = "the handle: slot of the sequence"
_GENERATION = "the handle: the slot's generation"

_ATTENTION = {
    "key_format": "of the keys in their pages",
    "value_format": "of the values in their pages",
    "q_format": "of the queries; INT16 is not allowed",
    "o_format": "of the results; PARTIAL is for merging",
    "causal": "a query sees no key after its own position",
    "lse": "write the log-sum-exp as well",
    "head_dim": "head dimension, a multiple of 8",
    "heads": "query heads that share the KV head",
    "window": "a query sees the latest so many positions up to its own; 0: no window",
    "groups": "entries of the table",
    "table": "address of the table, a multiple of 64",
    "cached": "the table holds `CachedGroup` entries: keys and values come from the cache",
    "tree": "cached: rows see the step's places by a mask of 64 bits",
    "cells": "cached: sequences of heavy hitters, seen by the positions of their cells",
    "hitters": "cells: add up probabilities and drop keys; groups of P rows at most",
    "reserved": _RESERVED,
}

FIELDS = {
    "linear": {
        "weight_format": "of the weights",
        "x_format": "of the rows that are read; INT16 is not allowed",
        "y_format": "of the rows that are written",
        "group": "steps that share a scale; CHANNEL: one scale for the whole reduction",
        "group_shift": "right shift of a group's scaled sum",
        "m": "rows (tokens)",
        "k": "reduction",
        "n": "output channels",
        "x": "address of the rows that are read",
        "w": "address of the weights",
        "y": "address of the rows that are written",
        "reserved": _RESERVED,
    },
    "attention": _ATTENTION,
    "merge": _ATTENTION,
    "score": _ATTENTION,
    "append": {
        "format": "of the source",
        "heads": "KV heads of the layer",
        "first_head": "layer times KV heads",
        "rows": "tokens, 1 to P * C",
        "keys": "address of the keys",
        "values": "address of the values",
        "table": "address of the rows' places, a multiple of 8",
        "scales": "address of the heads' scales, a multiple of 8",
        "channels": "of a row group of the source; 0: heads times head dimension",
        "full": "the last row group has P rows in memory too",
    },
    "cache": {
        "op": "the operation",
        "policy": "OPEN: what the sequence forgets",
        "tree": "COMMIT: keep the places of the path, not the first ones",
        "zero_op": _RESERVED,
        "slot": _SLOT,
        "generation": _GENERATION,
        "count": "APPEND: tokens. COMMIT: places. TRUNCATE: length. SWAP_OUT: blocks of the window in host memory",
        "size": "OPEN: positions of the window, or heavy hitters",
        "recent": "OPEN of heavy hitters: recent keys that stay",
        "chunk": "OPEN of heavy hitters: tokens of the longest step",
        "path": "COMMIT: bit j keeps reserved place j",
        "host": "SWAP_OUT: address of the window in host memory, a multiple of 4,096",
        "reserved": _RESERVED,
    },
    "setup": {
        "geometry.base": "address of block 0, a multiple of 4,096",
        "geometry.block_units": "bytes of a block, in units of 4,096",
        "geometry.blocks": "blocks of the pool",
        "geometry.page_bytes": "bytes from one page of a block to the next, a multiple of the bus's",
        "geometry.heads": "pages of a block: layers times KV heads",
        "geometry.head_dim": "head dimension",
        "geometry.key_format": "of the keys in their pages",
        "geometry.value_format": "of the values in their pages",
        "geometry.records": "address of the heavy hitters' records, a multiple of 4,096",
        "geometry.log_cells": "cells of each record, binary logarithm",
        "reserved": _RESERVED,
    },
    "vector": {
        "op": "the operation",
        "add": "RESIDUAL: add x to the residuals",
        "fresh": "RESIDUAL with add: the residuals begin at 0",
        "norm": "RESIDUAL: what becomes of the residuals",
        "format": "to which results saturate; containers are int16",
        "function": "ACTIVATE: the function",
        "fraction": "ACTIVATE: fractional bits of x, 8 to 12",
        "interleaved": "ROTATE: dim 2 i turns with 2 i + 1, not i with i + pairs",
        "groups": "row groups, 1 to C",
        "idle_rows": "rows at the end of the last group that no tally counts, 0 to P - 1",
        "channels": "channels; with a norm at most 4,096; in ROTATE dims of a head",
        "heads": "ROTATE: heads",
        "pairs": "ROTATE: pairs of dims of a head that turn",
        "x": "address of what is read",
        "r": "address of the residuals; GATE: of the other factor; ROTATE: of the angles",
        "t": "address of the norm's parameters; GATHER: of the indices",
        "y": "address of what is written",
        "mult": "multiplier of x",
        "shift": "right shift of x, or of the result",
        "out_mult": "REQUANTIZE: multiplier",
        "out_shift": "right shift of what a norm writes",
        "reciprocal": "LAYER, RMS: round(2**53 / channels)",
        "epsilon": "LAYER, RMS: round(eps * 2**20 * channels**2)",
        "rotation": "LANES: rows by which x is turned",
        "first_lane": "LANES: first row of each row group of y that is written",
        "last_lane": "LANES: last row of each row group of y that is written",
        "reserved": _RESERVED,
    },
}
"""By name of the instruction, then of the field."""

CODES = {
    StatusCode.OK: "done",
    StatusCode.BAD_FIELD: "a field holds a value that is not allowed; detail: its index, or 128 and the index of the "
                          "header's field",
    StatusCode.GUARD_READ: "a read outside the windows was refused; address: its first byte",
    StatusCode.GUARD_WRITE: "a write outside the windows was refused; address: its first byte",
    StatusCode.READ_SLVERR: "the bus answered a read with SLVERR; address: the beat's",
    StatusCode.READ_DECERR: "the bus answered a read with DECERR; address: the beat's",
    StatusCode.WRITE_SLVERR: "the bus answered a write with SLVERR; address: the burst's first byte",
    StatusCode.WRITE_DECERR: "the bus answered a write with DECERR; address: the burst's first byte",
    StatusCode.TIMEOUT: "the bus was silent for BUS_TIMEOUT cycles while an answer was needed",
    StatusCode.BAD_ENTRY: "an entry of the job's table is not allowed; detail: its field's index, address: the entry's",
    StatusCode.BAD_BASE: "a page does not start at a whole beat of memory; address: the page's",
    StatusCode.BAD_SEGMENT: "a segment is not allowed, or names places that its sequence has not; detail: its field's "
                            "index, address: the segment's",
    StatusCode.BAD_ROW: "a row of an append names a place that is not reserved; detail: its field's index, address: "
                        "the row's",
    StatusCode.REFUSED: "an operation on the cache was refused; detail: its CacheStatus",
    StatusCode.ABORTED: "given up by the host",
}
