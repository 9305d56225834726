"""Which masks the hardware has, found again in a boolean mask.

A query token at position p sees the keys 0 <= j < keys with, if causal, j <= p and, in a window,
j > p - window. All groups of a job share ``causal`` and ``window``; number of keys and position of the first
token are a group's own.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["UNKNOWN", "Mask", "find_mask"]

UNKNOWN = ("mask is none that the hardware has: no mask, key lengths (the first n keys of a batch element), causal "
           "(from one query to the next one key more), and causal with a window; one kind, and one window, for all "
           "batch elements, and equal for heads that share a KV head")


@dataclass(frozen=True)
class Mask:
    """The masks of a job's groups.

    Parameters
    ----------
    causal : bool
    window : int
        0 for no window.
    keys, positions : list of int
        By group.
    """

    causal: bool
    window: int
    keys: list
    positions: list


def _drawn(tokens, columns, causal, window, keys, position):
    """The mask [T, S] that these numbers stand for."""
    at = position + np.arange(tokens)[:, None]
    key = np.arange(columns)
    seen = np.broadcast_to(key < keys, (tokens, columns))
    if causal:
        seen = seen & (key <= at)
    if window:
        seen = seen & (key > at - window)
    return seen


def _place(mask, causal):
    """Number of keys and position of the first token of one group's mask, if it is one that the hardware has."""
    tokens, columns = mask.shape
    keys = max(int(np.flatnonzero(mask.any(axis=0)).max(initial=0)) + 1, 1)
    if not causal:
        return keys, columns - tokens
    some = np.flatnonzero(mask.any(axis=1))
    if not len(some):
        # Before the first key.
        return keys, -tokens
    first = int(some[0])
    return keys, int(np.flatnonzero(mask[first])[-1]) - first


def find_mask(masks):
    """The `Mask` of groups ``masks`` bool [groups, T, S].

    Raises
    ------
    ValueError
        If the hardware does not have it.
    """
    widest = int(masks.sum(axis=2).max())
    for causal, window in ((False, 0), (True, 0), (True, widest)):
        places = []
        for mask in masks:
            keys, position = _place(mask, causal)
            if not np.array_equal(_drawn(*mask.shape, causal, window, keys, position), mask):
                break
            places.append((keys, position))
        else:
            return Mask(causal, window, *map(list, zip(*places)))
    raise ValueError(UNKNOWN)
