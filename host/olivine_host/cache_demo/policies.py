"""Attention over a text with everything kept, a window, or heavy hitters: golden integers, token by token.

Attention goes through a backend's jobs, so that a simulator can take the golden model's place; sums and victims
are those of `olivine_golden.heavy_hitter`. Whatever the policy, a token attends to at most ``keys`` keys, its own
included. With heavy hitters these are the heavy and the recent ones that the step before kept, and itself.
"""

from dataclasses import dataclass, replace

import numpy as np
from olivine.config import ROW_BITS
from olivine.kvcache.descriptor import RECORD_BYTES
from olivine.kvcache.page import value_blocks
from olivine.olive.formats import LaneFormat
from olivine_golden.attention import decode_codes, page_scores
from olivine_golden.heavy_hitter import WEIGHT_ONE, HeavyHitter, weight
from olivine_golden.rounding import sat

from ..attention_jobs import GroupOutput
from ..minilm.attention import OPTIONS
from .data import logit_scale
from .reference import VictimComparison

__all__ = ["LAST", "Run", "budget", "masses", "full", "window", "heavy_hitters"]

JOB = {**OPTIONS, "lse": True}

FREE_CELL_BYTES = 2
"""An entry of a record's list of free cells, which attention does not read."""

LAST = 32
"""Tokens at the end of the text that are judged by themselves."""


@dataclass(frozen=True)
class Run:
    """What a policy made of a text.

    Parameters
    ----------
    name : str
    context : float64 [T, hidden]
    seen : bool [heads, T, T]
        Which keys each token attended to.
    bytes_read : int
        For the last token, in all heads: keys, values, and of heavy hitters sums and positions.
    sums : float64 [heads, T] or None
        Of heavy hitters: probability that each key got so far; NaN where it was dropped.
    recent : int
        Heavy hitters: so many of the newest are kept for being that.
    comparisons : list of VictimComparison
        Heavy hitters: by head.
    """

    name: str
    context: np.ndarray
    seen: np.ndarray
    bytes_read: int
    sums: np.ndarray | None = None
    recent: int = 0
    comparisons: list = ()

    @property
    def keys(self):
        """Most keys that a token attended to."""
        return int(self.seen.sum(axis=2).max())

    def errors(self, reference):
        """Relative error of the context of each token: float64 [T]."""
        return np.linalg.norm(self.context - reference, axis=1) / np.linalg.norm(reference, axis=1)

    def attention_kept(self, mass):
        """Share of full attention's probability ``mass`` [heads, T, T] on the keys attended to: [heads, T]."""
        return (mass * self.seen).sum(axis=2) / mass.sum(axis=2)


def budget(tokens, share):
    """``heavy, recent`` for a share of a text's tokens: half each, with the own token in the recent half.

    Raises
    ------
    ValueError
        If the share leaves no key for one of them.
    """
    keys = round(share * tokens)
    if not 3 <= keys <= tokens:
        raise ValueError(f"the cache's share is {share:g}, {keys} of {tokens} tokens: must be 3 or more, at most all")
    return (keys - 1) // 2, keys - 1 - (keys - 1) // 2


def _scores(group, k_codes, queries):
    """Scores Q8.8 and exact products [R, keys] of rows ``queries``."""
    k, _ = decode_codes(k_codes, LaneFormat.INT8)
    rows = sat(group.q[queries], ROW_BITS)
    seen = np.ones((len(rows), len(k)), bool)
    return page_scores(rows, k, seen, group.score_mult, group.score_shift)[0], rows @ k.T


def _bytes(config, group, first, end):
    """Bytes of keys and values that one head's job reads to attend to keys ``first`` to ``end``: whole pages at the
    start, of the last page whole sub-blocks of keys."""
    d = group.q.shape[1]
    keys = end - first // config.lanes * config.lanes
    beats = sum(beats for _, beats in value_blocks(config.lanes, config.bus_bytes, d, JOB["value_format"]))
    return -(-keys // config.bus_bytes) * config.bus_bytes * d * JOB["key_format"].bits // 8 \
        + keys * beats * config.bus_bytes


def masses(layer, outputs):
    """Probabilities [heads, T, T] that full attention gives: the golden weights, of its log-sum-exps."""
    causal = np.tri(len(layer.tokens), dtype=bool)
    made = []
    for group, output in zip(layer.groups, outputs):
        scores, _ = _scores(group, group.k_codes, slice(None))
        made.append(np.where(causal, weight(np.maximum(output.lse[:, None] - scores, 0)), 0) / WEIGHT_ONE)
    return np.array(made)


def full(layer, backend):
    """`Run` with every key kept, and its `masses`."""
    tokens = len(layer.tokens)
    outputs = backend.run_attention(layer.groups, **JOB | {"causal": True}).outputs
    seen = np.tile(np.tri(tokens, dtype=bool), (layer.heads, 1, 1))
    read = sum(_bytes(backend.config, group, 0, tokens) for group in layer.groups)
    return Run("all keys", layer.context_of(outputs), seen, read), masses(layer, outputs)


def window(layer, backend, keys):
    """`Run` with the newest ``keys`` keys."""
    tokens = len(layer.tokens)
    outputs = backend.run_attention(layer.groups, **JOB | {"causal": True, "window": keys}).outputs
    seen = np.tri(tokens, dtype=bool) & ~np.tri(tokens, k=-keys, dtype=bool)
    read = sum(_bytes(backend.config, group, tokens - keys, tokens) for group in layer.groups)
    return Run("window", layer.context_of(outputs), np.tile(seen, (layer.heads, 1, 1)), read)


class _Head:
    """One head's cells: its keys and values, their sums, and the float step beside them."""

    def __init__(self, group, heavy, recent):
        self.group = group
        self.hitter = HeavyHitter(heavy + recent + 1, heavy, recent)
        self.comparison = VictimComparison(heavy + recent + 1, recent)
        shape = heavy + recent + 1, group.q.shape[1]
        self.k, self.v = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)

    def begin(self, token):
        """Take up a token; returns the `Group` of its attention."""
        cell, = self.hitter.fill(1)
        self.k[cell], self.v[cell] = self.group.k_codes[token], self.group.v_codes[token]
        # One token a step, so cells in use are the first ones: a key index is a cell.
        used = self.hitter.used
        return replace(self.group, q=self.group.q[token:token + 1], k_codes=self.k[:used].copy(),
                       v_codes=self.v[:used].copy())

    def end(self, token, lse):
        """Add up, drop; returns the positions that the token attended to."""
        hitter = self.hitter
        scores, products = _scores(self.group, self.k, slice(token, token + 1))
        positions, before = hitter.positions.copy(), hitter.sums.copy()
        hitter.attend_add(scores, lse, hitter.seen(1, 1))
        after = hitter.sums.copy()
        victim = next(iter(hitter.drop(hitter.excess)), None)
        self.comparison.judge(before, after, positions, products * logit_scale(self.group), lse, victim)
        return positions[positions >= 0]


def heavy_hitters(layer, backend, heavy, recent, advance=lambda: None):
    """`Run` with heavy hitters; ``advance()`` is called after each token.

    Raises
    ------
    ValueError
        If the configuration has too few cells.
    """
    cells, tokens = heavy + recent + 1, len(layer.tokens)
    if cells > backend.config.cells:
        raise ValueError(f"heavy hitters need {cells} cells: preset {backend.config.name!r} has {backend.config.cells}")
    heads = [_Head(group, heavy, recent) for group in layer.groups]
    seen = np.zeros((layer.heads, tokens, tokens), bool)
    y = []
    for token in range(tokens):
        outputs = backend.run_attention([head.begin(token) for head in heads], **JOB).outputs
        for index, (head, output) in enumerate(zip(heads, outputs)):
            seen[index, token, head.end(token, output.lse)] = True
        y.append([output.y for output in outputs])
        advance()
    sums = np.full((layer.heads, tokens), np.nan)
    for index, head in enumerate(heads):
        kept = head.hitter.positions >= 0
        sums[index, head.hitter.positions[kept]] = head.hitter.sums[kept] / WEIGHT_ONE
    last = min(cells, tokens)
    read = sum(_bytes(backend.config, group, 0, last) + last * (RECORD_BYTES - FREE_CELL_BYTES)
               for group in layer.groups)
    outputs = [GroupOutput(np.concatenate(rows)) for rows in zip(*y)]
    return Run("heavy hitters", layer.context_of(outputs), seen, read, sums, recent,
               [head.comparison for head in heads])
