"""A text's queries, keys and values in one layer of MiniLM, with a causal mask: as if it were written token by token.

MiniLM is an encoder and was trained to see its whole text; no decoder's weights come with the project. With the mask a
token sees what came before it, in the layers below too, which is what a cache needs.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from olivine.linear.descriptor import RowFormat
from torch.nn.functional import scaled_dot_product_attention

from ..minilm.attention import attention_groups, calibrate_attention, context_of
from ..minilm.model import MAX_TOKENS
from ..quantize import activation_scale
from ..text import CALIBRATION, EVALUATION

__all__ = ["MIN_TOKENS", "TEXT", "PASSAGES", "CausalLayer", "logit_scale", "causal_layer"]

MIN_TOKENS = 128

TEXT = " ".join(EVALUATION)
"""340 tokens."""

PASSAGES = [" ".join(CALIBRATION[start:start + 32]) for start in range(0, len(CALIBRATION), 32)]
"""Calibration text in passages as long as what is judged: queries and keys change along a text."""


@dataclass(frozen=True)
class CausalLayer:
    """One layer's attention over one text, in integers and in float.

    Parameters
    ----------
    tokens : list of str
    whole : bool
        The text was no longer than the model takes.
    groups : list of olivine_golden.attention.Group
        By head: every token's query, key and value; int12, int8, int8.
    quantized : QuantizedAttention
        Scales.
    context : float64 [T, hidden]
        Of float attention to all keys up to a token's own.
    """

    tokens: list
    whole: bool
    groups: list
    quantized: object
    context: np.ndarray

    @property
    def heads(self):
        return len(self.groups)

    def context_of(self, outputs):
        """Float64 [T, hidden] of the groups' `GroupOutput`."""
        return context_of(self.quantized, outputs).double().numpy()


def logit_scale(group):
    """Natural logarithm that a unit of ``q . k`` stands for."""
    return group.score_mult / 2.0 ** group.score_shift / 256 * math.log(2)


def _attend(model, qkv, batch):
    """Context [T, hidden], each token from those of its sentence up to itself."""
    parts = []
    for part in qkv.split(batch.lengths):
        q, k, v = part.unflatten(1, (3, model.heads, -1)).permute(1, 2, 0, 3)
        parts.append(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).flatten(1))
    return torch.cat(parts)


def _qkv(model, batch, index):
    """q, k and v [T, 3 * hidden] of layer ``index``."""
    x = model.embed(batch)
    for below in range(index):
        x = model.layer(below, x, batch, attend=lambda qkv: _attend(model, qkv, batch))
    return model.linears[index]["qkv"](x)


def causal_layer(model, text, index):
    """The `CausalLayer` of layer ``index`` over ``text``; scales are from `PASSAGES`.

    Raises
    ------
    ValueError
        If there is no such layer, or the text has fewer than `MIN_TOKENS` tokens.
    """
    count = len(model.linears)
    if not 0 <= index < count:
        raise ValueError(f"layer is {index}: the model has layers 0 to {count - 1}")
    batch = model.tokenize([text])
    if len(batch.ids) < MIN_TOKENS:
        raise ValueError(f"the text has {len(batch.ids)} tokens: at least {MIN_TOKENS} make a cache worth while")
    with torch.no_grad():
        sample = model.tokenize(PASSAGES)
        qkv = _qkv(model, sample, index)
        step = activation_scale(_attend(model, qkv, sample).numpy(), RowFormat.INT12.bits, "mse")
        quantized = calibrate_attention(qkv, model.heads, step)
        qkv = _qkv(model, batch, index)
        context = _attend(model, qkv, batch).double().numpy()
        groups = attention_groups(quantized, qkv, batch)
    tokens = [model.tokenizer.id_to_token(int(token)) for token in batch.ids]
    return CausalLayer(tokens, len(tokens) < MAX_TOKENS, groups, quantized, context)
