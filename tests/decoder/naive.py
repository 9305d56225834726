"""The decoder token by token, from the golden models of the single jobs: slow, and nothing to get wrong."""

import numpy as np
from olivine.attention.descriptor import OutputFormat
from olivine.kvcache.descriptor import CachePolicy
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden import append
from olivine_golden.cached_attention import CachedGroup, Segment, cached_attention, cell_scores, hitter_step
from olivine_golden.heavy_hitter import HeavyHitter
from olivine_golden.kv_sequence import Policy
from olivine_golden.linear import linear
from olivine_golden.vector import NormJob, activate, add, normalise_rows


def norm(config, parameters, residual):
    job = NormJob.of(config.d_model, config.eps, config.centred)
    return normalise_rows(residual, job, parameters.gamma, parameters.beta, parameters.shift, 12).y


def int16(x, weights):
    return linear(x, weights, RowFormat.INT16)[0]


def codes(x, mult, shift, lane_format):
    """uint8 [tokens, d] of int16 rows, as `CachedGroup` wants them."""
    stored, _ = append.requantize(x, int(mult), int(shift), lane_format)
    if lane_format is LaneFormat.INT8:
        return stored
    return np.stack([stored >> 4, stored & 15], axis=2).reshape(len(x), -1)


class Head:
    """One layer and KV head of one sequence."""

    def __init__(self, policy, context, d):
        self.policy, self.length = policy, 0
        self.heavy = policy.kind is CachePolicy.HEAVY
        cells = policy.heavy + policy.recent + policy.chunk if self.heavy else context
        self.hitter = HeavyHitter(cells, policy.heavy, policy.recent) if self.heavy else None
        self.k, self.v = np.zeros((cells, d), np.uint8), np.zeros((cells, d), np.uint8)

    def step(self, queries, k, v, scales, formats, lanes):
        """Results [query heads, tokens, d] of ``queries`` [query heads, tokens, d]."""
        tokens = len(k)
        cells = self.hitter.fill(tokens) if self.heavy else self.length + np.arange(tokens)
        self.k[cells], self.v[cells] = k, v
        position, self.length = self.length, self.length + tokens
        used = self.hitter.filled if self.heavy else self.length
        segment = Segment(self.k[:used], self.v[:used])
        y, parts = [], []
        options = {"lanes": lanes, "chunk_rows": 4, "key_format": formats[0], "heads": 1, "causal": True,
                   "window": self.policy.window}
        for q, (score_mult, score_shift, o_mult, o_shift) in zip(queries, scales):
            group = CachedGroup(q, (segment,), position, score_mult, score_shift, o_mult, o_shift,
                                cells=self.hitter.positions[:used] if self.heavy else None)
            result = cached_attention(group, **options, value_format=formats[1], o_format=OutputFormat.INT12)
            y.append(result["y"])
            if self.heavy:
                scores, seen, _ = cell_scores(group, **options)
                parts.append((scores, result["lse"], seen))
        if self.heavy:
            scores, lse, seen = map(np.concatenate, zip(*parts))
            hitter_step(self.hitter, scores, lse, seen)
        return np.array(y)


class NaiveSequence:
    """One sequence of a model."""

    def __init__(self, model, lanes, policy=Policy()):  # noqa: B008
        self.model, self.lanes, self.length = model, lanes, 0
        config = model.config
        self.heads = [[Head(policy, config.context, config.head_dim) for _ in range(config.kv_heads)]
                      for _ in range(config.layers)]

    def step(self, ids):
        """Logits [tokens, vocab]."""
        model, config = self.model, self.model.config
        r = np.zeros((len(ids), config.d_model), np.int64)
        positions = self.length + np.arange(len(ids))
        for table, index in ((model.token, ids), (model.position, positions)):
            r = add(r, table.table[index], *table.add).residual
        for layer, heads in zip(model.layers, self.heads):
            qkv = int16(norm(config, layer.norm1, r), layer.qkv)
            r = add(r, int16(self.attention(layer, heads, qkv), layer.proj), *layer.proj_add).residual
            up = int16(norm(config, layer.norm2, r), layer.up)
            activation = layer.activation
            a = activate(config.function, up, activation.fraction, activation.mult, activation.shift, 12).y
            r = add(r, int16(a, layer.down), *layer.down_add).residual
        self.length += len(ids)
        return int16(norm(config, model.norm, r), model.head)

    def attention(self, layer, heads, qkv):
        config, scales = self.model.config, layer.attention
        formats = self.model.key_format, self.model.value_format
        d, share = config.head_dim, config.heads // config.kv_heads
        outputs = []
        for kv, head in enumerate(heads):
            k, v = (codes(qkv[:, first + kv * d:first + (kv + 1) * d], mult[kv], shift[kv], lane_format)
                    for first, mult, shift, lane_format in (
                        (config.heads * d, scales.key_mult, scales.key_shift, formats[0]),
                        ((config.heads + config.kv_heads) * d, scales.value_mult, scales.value_shift, formats[1])))
            mine = range(kv * share, (kv + 1) * share)
            queries = [qkv[:, h * d:(h + 1) * d] for h in mine]
            numbers = [tuple(int(part[h]) for part in (scales.score_mult, scales.score_shift, scales.o_mult,
                                                       scales.o_shift)) for h in mine]
            outputs.extend(head.step(queries, k, v, numbers, formats, self.lanes))
        return np.concatenate(outputs, axis=1)
