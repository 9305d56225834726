"""The record of a heavy-hitter sequence's head in memory, see `olivine.kvcache.descriptor.CacheGeometry`.

Of a record with N cells only the cells ever used mean anything: nothing else is written, and nothing else is read.
"""

import numpy as np
from olivine.kvcache.descriptor import FREE_CELL, RECORD_BYTES

__all__ = ["record_parts", "put_record", "get_record", "load_record"]


def _offsets(cells):
    """First bytes of sums, positions and free cells."""
    return 0, 4 * cells, 6 * cells


def record_parts(hitter, cells):
    """``[(offset, bytes)]`` that a `HeavyHitter` has in its record of ``cells`` cells: sums, positions, and, if there
    are any, free cells."""
    if hitter.filled > cells:
        raise ValueError(f"cells is {cells}: must be at least those used, {hitter.filled}")
    positions = hitter.positions[:hitter.filled]
    if positions.max(initial=0) >= FREE_CELL:
        raise ValueError(f"position {positions.max()} does not fit a record: must be below {FREE_CELL}")
    values = (hitter.sums[:hitter.filled].astype("<u4"), np.where(positions < 0, FREE_CELL, positions).astype("<u2"),
              hitter.free.astype("<u2"))
    return [(offset, part.tobytes()) for offset, part in zip(_offsets(cells), values) if len(part)]


def put_record(image, hitter, cells):
    """Write a `HeavyHitter` into the bytearray of its record."""
    if len(image) != RECORD_BYTES * cells:
        raise ValueError(f"image has {len(image)} bytes: a record of {cells} cells has {RECORD_BYTES * cells}")
    for offset, part in record_parts(hitter, cells):
        image[offset:offset + len(part)] = part


def get_record(image, filled):
    """Sums, positions (-1 for none) and free cells of the bytes of a record, of which ``filled`` cells were used."""
    cells = len(image) // RECORD_BYTES
    kinds = ((np.dtype("<u4"), filled), (np.dtype("<u2"), filled))
    sums, positions = (np.frombuffer(image, kind, count, offset).astype(np.int64)
                       for (kind, count), offset in zip(kinds, _offsets(cells)))
    positions[positions == FREE_CELL] = -1
    free = np.frombuffer(image, "<u2", int((positions < 0).sum()), _offsets(cells)[2]).astype(np.int64)
    return sums, positions, free


def load_record(hitter, image, filled, length):
    """Give a fresh `HeavyHitter` the contents of a record, of a sequence of ``length`` tokens."""
    sums, positions, free = get_record(image, filled)
    if filled > len(hitter.positions):
        raise ValueError(f"filled is {filled}: the model has {len(hitter.positions)} cells")
    if free.tolist() != np.flatnonzero(positions < 0).tolist():
        raise ValueError("the list of free cells does not agree with the positions")
    hitter.sums[:filled], hitter.positions[:filled] = sums, positions
    hitter.filled, hitter.length = filled, length
    hitter.dropped = length - hitter.used
