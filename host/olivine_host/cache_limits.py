"""The fewest cycles of any machine for jobs over the cache, as `olivine_host.bench.limits` says.

Tables, segments, masks of trees and lists of free cells do not count, nor does what one job reads twice.
"""

import numpy as np
from olivine.attention.descriptor import OutputFormat, partial_words
from olivine.kvcache.descriptor import TREE_PLACES
from olivine.linear.descriptor import RowFormat

from .bench.limits import Limit

__all__ = ["CELL_BYTES", "append_limit", "cached_limit"]

CELL_BYTES = 6
"""Sum and position of a cell."""


def append_limit(memory, rows, heads, row_format):
    """The `Limit` of an append job: source rows are read once, keys and values written once."""
    d = memory.geometry["head_dim"]
    elements = rows * heads * d
    return Limit(bytes_read=2 * elements * RowFormat(row_format).bytes,
                 bytes_written=elements * (memory.key_format.bits + memory.value_format.bits) // 8, multiplies=0,
                 bus_bytes=memory.config.bus_bytes, multipliers=memory.config.multipliers)


def _ranges(request, heads, causal, window, tree):
    """First position that each row sees by the plain rule, and the first that it sees no more."""
    own = request.position + np.arange(len(request.q)) // heads
    low = np.maximum(own - window + 1, 0) if window else np.zeros_like(own)
    if tree:
        return low, np.full_like(own, request.position)
    return low, own + 1 if causal else np.full_like(own, 1 << 40)


def _meet(request, segment, lanes, read, low, high):
    """Mark what rows see of a segment in ``read``; returns the pairs of a row and a key."""
    pairs, end = 0, segment.end
    for row in range(len(low)):
        if not segment.rows >> row % 64 & 1:
            continue
        first, last = max(int(low[row]), segment.first * lanes), min(int(high[row]), end)
        pairs += max(last - first, 0)
        read[first:max(last, first)] = True
        if request.tree is not None:
            places = [request.position + bit for bit in range(TREE_PLACES) if request.tree[row] >> bit & 1]
            places = [place for place in places if segment.first * lanes <= place < end]
            pairs += len(places)
            read[places] = True
    return pairs


def _cell_pairs(request, segment, held, causal, window, heads):
    """Pairs over cells: the rows are those of the step's tokens, each sees the tokens up to its own."""
    tokens = -(-len(request.q) // heads)
    pairs = 0
    for row in range(len(request.q)):
        seen = held - (tokens - 1 - row // heads) if causal else held
        pairs += (segment.rows >> row % 64 & 1) * max(min(seen, window) if window else seen, 0)
    return pairs


def cached_limit(memory, requests, *, heads=1, causal=False, window=0, q_format, o_format, lse=False, tree=False,
                 cells=False, hitters=False, score=False):
    """The `Limit` of a cached attention job or of a score job.

    Every key and value that a row sees is read once in the job, however many rows, chunks and groups see it; so a
    prefix that is named as one segment counts once for each head. Queries are read once, results written once. Of
    heavy hitters sums and positions of all cells are read and written once. A score job reads keys and the
    log-sum-exp, and multiplies once for each row and key it sees.

    Parameters
    ----------
    memory : CacheMemory
    requests : list of olivine_host.cache_jobs.Request
    """
    config, d = memory.config, memory.geometry["head_dim"]
    output, read, pairs, cell_bytes, written, rows = OutputFormat(o_format), {}, 0, 0, 0, 0
    keys = 0
    for request in requests:
        count = len(request.q)
        rows += count
        low, high = _ranges(request, heads, causal, window, tree)
        for segment in request.segments:
            if cells:
                held = segment.end if segment.held is None else segment.held
                pairs += _cell_pairs(request, segment, held, causal, window, heads)
                keys += held
                cell_bytes += CELL_BYTES * segment.end if hitters else (CELL_BYTES - 4) * segment.end
                continue
            name = segment.handle, request.head
            marks = read.setdefault(name, np.zeros(config.max_sequence, bool))
            pairs += _meet(request, segment, config.lanes, marks, low, high)
    keys += sum(int(marks.sum()) for marks in read.values())
    bits = memory.key_format.bits + (0 if score else memory.value_format.bits)
    bytes_read = keys * d * bits // 8 + rows * d * RowFormat(q_format).bytes + cell_bytes + (4 * rows if score else 0)
    if not score:
        row = 2 * partial_words(d) if output is OutputFormat.PARTIAL else d * output.bytes
        written = rows * (row + (4 if lse else 0))
    return Limit(bytes_read=bytes_read, bytes_written=written + (cell_bytes if hitters else 0),
                 multiplies=(1 if score else 2) * d * pairs, bus_bytes=config.bus_bytes,
                 multipliers=config.multipliers)
