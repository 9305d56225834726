"""Key-value caches of sequences that go in lockstep: what they keep, what their rows see.

Values are kept as the lanes see them, decoded. Bits do not depend on how tokens are cut into steps, except with heavy
hitters, where a step decides what is kept.
"""

import numpy as np
from olivine.kvcache.descriptor import CachePolicy
from olivine.olive.formats import LaneFormat

from ..heavy_hitter import SUM_MAX, weight
from ..kv_sequence import Policy
from ..ovp import decode_pairs, encode_pairs
from .attention import UNSEEN, attend, finish, page_scores
from .exact import factor, scaled

__all__ = ["KEEP_ALL", "Codec", "LayerCache", "LayerHitters", "layer_cache"]

KEEP_ALL = Policy()


class Codec:
    """From int16 results of a linear layer to what the lanes see of the cache: `olivine_golden.append.requantize`,
    decoded. ``mult`` and ``shift`` are of each KV head."""

    def __init__(self, lane_format, mult, shift):
        self._format = lane_format
        self._factor = factor(mult, shift)[:, None, None]

    def __call__(self, x):
        """x [B, KV, T, d]"""
        if self._format is LaneFormat.INT8:
            return scaled(x, self._factor, 8)
        halves = scaled(x, self._factor, 16).astype(np.int64)
        codes, _ = encode_pairs(halves[..., 0::2], halves[..., 1::2], self._format)
        first, second, _ = decode_pairs(codes, self._format)
        return np.stack([first, second], axis=-1).reshape(x.shape).astype(np.float64)


class LayerCache:
    """One layer of ``count`` sequences, which keep all keys, or see a window of the newest.

    Parameters
    ----------
    config : DecoderConfig
    count : int
    window : int
        0: no window.
    """

    def __init__(self, config, count, window):
        self.window, self.length = window, 0
        shape = count, config.kv_heads, config.context, config.head_dim
        self.k, self.v = np.zeros(shape), np.zeros(shape)

    def step(self, q, k, v, lanes, by):
        """Append keys and values [B, KV, T, d], and attend with q [B, KV, G, T, d]."""
        start, self.length = self.length, self.length + k.shape[2]
        self.k[:, :, start:self.length], self.v[:, :, start:self.length] = k, v
        own = start + np.arange(k.shape[2])

        def hidden(first, end):
            above = max(first - start, 0)
            key = np.arange(first, end)
            seen = key <= own[above:, None]
            if self.window:
                seen &= key > own[above:, None] - self.window
            return above, np.where(seen, 0.0, UNSEEN)

        state = attend(q, self.k[:, :, :self.length], self.v[:, :, :self.length], hidden, lanes, by)
        return finish(state, by)[0]


class LayerHitters:
    """One layer of ``count`` sequences of heavy hitters: `olivine_golden.heavy_hitter` of each and each KV head.

    Attributes
    ----------
    positions : int64 [B, KV, cells]
        -1 where there is no token.
    sums : int64 [B, KV, cells]
    """

    def __init__(self, config, count, policy):
        self.policy, self.length = policy, 0
        cells = policy.heavy + policy.recent + policy.chunk
        shape = count, config.kv_heads, cells
        self.positions = np.full(shape, -1, np.int64)
        self.sums = np.zeros(shape, np.int64)
        self.k, self.v = np.zeros((*shape, config.head_dim)), np.zeros((*shape, config.head_dim))

    def step(self, q, k, v, lanes, by):
        """As `LayerCache.step`; then the sums take up the step, and what exceeds the policy is dropped."""
        tokens = k.shape[2]
        if tokens > self.policy.chunk:
            raise ValueError(f"a step has {tokens} tokens: the policy allows {self.policy.chunk}")
        self._fill(k, v)
        own = self.length - tokens + np.arange(tokens)
        positions = self.positions[:, :, None, None]
        seen = (positions >= 0) & (positions <= own[:, None])
        mask = np.where(seen, 0.0, UNSEEN)
        # What lies past the cells in use is not seen by any row.
        used = int(np.flatnonzero((self.positions >= 0).any((0, 1)))[-1]) + 1
        k, v = self.k[:, :, :used], self.v[:, :, :used]
        y, lse = finish(attend(q, k, v, lambda first, end: (0, mask[..., first:end]), lanes, by), by)
        scores = page_scores(q, k, by.score).astype(np.int64)
        weights = np.where(seen[..., :used], weight(np.maximum(lse[..., None] - scores, 0)), 0)
        self.sums[:, :, :used] = np.minimum(self.sums[:, :, :used] + weights.sum((2, 3)), SUM_MAX)
        self._drop()
        return y

    def _fill(self, k, v):
        """The lowest free cells in order."""
        tokens = k.shape[2]
        cells = np.argsort(self.positions >= 0, axis=2, kind="stable")[:, :, :tokens]
        np.put_along_axis(self.positions, cells, self.length + np.arange(tokens)[None, None], 2)
        for store, new in ((self.k, k), (self.v, v)):
            np.put_along_axis(store, cells[..., None], new, 2)
        self.length += tokens

    def _drop(self):
        """The smallest sums among the tokens older than the recent ones, of equal ones the oldest."""
        policy = self.policy
        excess = int((self.positions[0, 0] >= 0).sum()) - policy.heavy - policy.recent
        if excess <= 0:
            return
        older = (self.positions >= 0) & (self.positions < self.length - policy.recent)
        order = np.where(older, self.sums << 20 | self.positions, 1 << 62)
        victims = np.argsort(order, axis=2, kind="stable")[:, :, :excess]
        np.put_along_axis(self.positions, victims, -1, 2)
        np.put_along_axis(self.sums, victims, 0, 2)


def layer_cache(config, count, policy=KEEP_ALL):
    """The cache of a layer under a `Policy`."""
    if policy.kind is CachePolicy.HEAVY:
        return LayerHitters(config, count, policy)
    return LayerCache(config, count, policy.window)
