"""The integer decoder itself: steps of sequences through all layers, exactly as the accelerator computes them.

It gives the bits of the golden models of the single jobs (linear, append, attention, heavy hitters, vector), in the
order that `model` describes, several hundred times faster.
"""

import numpy as np
from olivine.kvcache.descriptor import CachePolicy

from .attention import HeadFactors
from .cache import KEEP_ALL, Codec, layer_cache
from .exact import factor
from .stages import ActivationStage, Embeddings, LinearStage, NormStage, add

__all__ = ["Decoder", "Sequences"]


class Sequences:
    """``count`` sequences of one policy that go in lockstep; made by `Decoder.open`.

    Attributes
    ----------
    length : int
        Tokens so far.
    """

    def __init__(self, config, count, policy):
        self.count, self.policy, self.length = count, policy, 0
        self.layers = [layer_cache(config, count, policy) for _ in range(config.layers)]


class _Layer:
    """What can be computed once of a layer."""

    def __init__(self, model, layer):
        self.norm1, self.norm2 = (NormStage(model.config, part) for part in (layer.norm1, layer.norm2))
        self.qkv, self.proj, self.up, self.down = map(LinearStage, (layer.qkv, layer.proj, layer.up, layer.down))
        self.proj_add, self.down_add = (factor(*part) for part in (layer.proj_add, layer.down_add))
        self.activation = ActivationStage(model.config.function, layer.activation)
        scales = layer.attention
        self.heads = HeadFactors(model.config, scales)
        self.key = Codec(model.key_format, scales.key_mult, scales.key_shift)
        self.value = Codec(model.value_format, scales.value_mult, scales.value_shift)


class Decoder:
    """A `QuantizedDecoder` that can run.

    Parameters
    ----------
    model : QuantizedDecoder
    lanes : int
        L of the accelerator: keys of a page. It shows in the last bits.
    watch : callable or None
        Called with (layer, stage, rows) after every stage; a layer of -1 is before, one of ``config.layers`` behind
        all layers. Rows are float64 [rows, channels], the residuals among them are changed afterwards. Stages are
        ``embedding``, ``norm1``, ``qkv``, ``attention``, ``proj``, ``middle`` (residual), ``norm2``, ``up``,
        ``activation``, ``down``, ``residual``, and last ``norm`` and ``head``.
    """

    def __init__(self, model, lanes, watch=None):
        self.model, self.config, self.lanes = model, model.config, lanes
        self._watch = watch or (lambda layer, stage, rows: None)
        self._embeddings = Embeddings(model.token, model.position)
        self._layers = [_Layer(model, layer) for layer in model.layers]
        self._norm, self._head = NormStage(model.config, model.norm), LinearStage(model.head)

    def open(self, count=1, policy=KEEP_ALL):
        """New empty `Sequences`."""
        return Sequences(self.config, count, policy)

    def forward(self, ids, policy=KEEP_ALL):
        """Logits int16 [count, tokens, vocab] of whole sequences ``ids`` [count, tokens], in one step; with heavy
        hitters in steps of whole chunks."""
        ids = np.asarray(ids)
        sequences = self.open(len(ids), policy)
        chunk = policy.chunk if policy.kind is CachePolicy.HEAVY else ids.shape[1]
        return np.concatenate([self.step([(sequences, ids[:, first:first + chunk])])[0]
                               for first in range(0, ids.shape[1], chunk)], axis=1)

    def step(self, batch):
        """Append tokens to sequences.

        Parameters
        ----------
        batch : list of (Sequences, int array [count, tokens])

        Returns
        -------
        list of int16 arrays [count, tokens, vocab]
            Logits after each token.

        Raises
        ------
        ValueError
            If an identifier is not in the vocabulary, or a sequence would outgrow the context.
        """
        parts = [self._check(sequences, np.asarray(ids)) for sequences, ids in batch]
        rows = np.concatenate([ids.ravel() for _, ids, _ in parts])
        positions = np.concatenate([np.tile(own, len(ids)) for _, ids, own in parts])
        residual = self._embeddings(rows, positions)
        self._watch(-1, "embedding", residual)
        for index, layer in enumerate(self._layers):
            self._layer(index, layer, residual, parts)
        a = self._norm(residual)
        self._watch(self.config.layers, "norm", a)
        logits = self._head(a)
        self._watch(self.config.layers, "head", logits)
        for sequences, ids, _ in parts:
            sequences.length += ids.shape[1]
        ends = np.cumsum([ids.size for _, ids, _ in parts])[:-1]
        return [part.reshape(*ids.shape, -1) for part, (_, ids, _) in
                zip(np.split(logits.astype(np.int16), ends), parts)]

    def _check(self, sequences, ids):
        if ids.ndim != 2 or ids.shape[0] != sequences.count or not ids.size or ids.dtype.kind not in "iu":
            raise ValueError(f"ids is {ids.dtype}{ids.shape}: must be integers [{sequences.count}, tokens]")
        if ids.min() < 0 or ids.max() >= self.config.vocab:
            raise ValueError(f"ids range from {ids.min()} to {ids.max()}: allowed is 0 to {self.config.vocab - 1}")
        end = sequences.length + ids.shape[1]
        if end > self.config.context:
            raise ValueError(f"a sequence would have {end} tokens: the model's context is {self.config.context}")
        return sequences, ids, np.arange(sequences.length, end)

    def _layer(self, index, layer, residual, parts):
        def watch(stage, rows):
            self._watch(index, stage, rows)
            return rows

        qkv = watch("qkv", layer.qkv(watch("norm1", layer.norm1(residual))))
        o = watch("attention", self._attention(index, layer, qkv, parts))
        add(residual, watch("proj", layer.proj(o)), layer.proj_add)
        watch("middle", residual)
        y = watch("up", layer.up(watch("norm2", layer.norm2(residual))))
        add(residual, watch("down", layer.down(watch("activation", layer.activation(y)))), layer.down_add)
        watch("residual", residual)

    def _attention(self, index, layer, qkv, parts):
        config, outputs, first = self.config, [], 0
        for sequences, ids, _ in parts:
            rows = qkv[first:first + ids.size].reshape(*ids.shape, -1, config.head_dim)
            first += ids.size
            q, k, v = (np.ascontiguousarray(part.swapaxes(1, 2)) for part in
                       np.split(rows, [config.heads, config.heads + config.kv_heads], axis=2))
            q = np.clip(q, -2048, 2047).reshape(len(ids), config.kv_heads, config.group, -1, config.head_dim)
            y = sequences.layers[index].step(q, layer.key(k), layer.value(v), self.lanes, layer.heads)
            outputs.append(y.reshape(len(ids), config.heads, -1, config.head_dim).swapaxes(1, 2).reshape(ids.size, -1))
        return np.concatenate(outputs)
