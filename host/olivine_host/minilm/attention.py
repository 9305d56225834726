"""MiniLM's attention in integers: every head of every sentence a group, static scales by head."""

from dataclasses import dataclass

import numpy as np
import torch
from olivine.attention.descriptor import OutputFormat
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

from ..quantize import activation_scale
from ..quantize.heads import head_codes, output_scale, score_scale
from ..rows import quantize_rows

__all__ = ["OPTIONS", "QuantizedAttention", "calibrate_attention", "attention_groups", "context_of"]

OPTIONS = {"heads": 1, "causal": False, "window": 0, "key_format": LaneFormat.INT8,
           "value_format": LaneFormat.INT8, "q_format": RowFormat.INT12, "o_format": OutputFormat.INT12, "lse": False}
"""Of every attention job: no mask, int8 keys and values, results as the next linear layer reads them."""


@dataclass(frozen=True)
class QuantizedAttention:
    """Scales of one encoder layer's attention.

    Parameters
    ----------
    q_scale, k_scale, v_scale : float64 [heads]
        Value of one step.
    o_scale : float
        That of the linear layer behind it.
    """

    q_scale: np.ndarray
    k_scale: np.ndarray
    v_scale: np.ndarray
    o_scale: float


def _by_head(qkv, heads):
    """q, k and v as float64 [head, token, d] of rows [T, 3 * hidden]."""
    parts = torch.as_tensor(qkv).unflatten(1, (3, heads, -1)).permute(1, 2, 0, 3)
    return parts.numpy().astype(np.float64)


def calibrate_attention(qkv, heads, o_scale):
    """`QuantizedAttention` for calibration rows ``qkv`` [T, 3 * hidden]: of least squared error, head by head."""
    bits = (OPTIONS["q_format"].bits, OPTIONS["key_format"].bits, OPTIONS["value_format"].bits)
    scales = [np.array([activation_scale(head, width, "mse") for head in part])
              for part, width in zip(_by_head(qkv, heads), bits)]
    return QuantizedAttention(*scales, o_scale)


def attention_groups(quantized, qkv, batch):
    """A group for each head of each sentence, sentence by sentence."""
    from olivine_golden.attention import Group
    heads = len(quantized.q_scale)
    q, k, v = _by_head(qkv, heads)
    scale = q.shape[2] ** -0.5
    groups = []
    for start, length in zip(batch.starts, batch.lengths):
        tokens = slice(start, start + length)
        for head in range(heads):
            score_mult, score_shift = score_scale(quantized.q_scale[head], quantized.k_scale[head], scale)
            o_mult, o_shift = output_scale(quantized.v_scale[head], quantized.o_scale)
            groups.append(Group(quantize_rows(q[head, tokens], quantized.q_scale[head], OPTIONS["q_format"]),
                                head_codes(k[head, tokens], quantized.k_scale[head], OPTIONS["key_format"]),
                                head_codes(v[head, tokens], quantized.v_scale[head], OPTIONS["value_format"]),
                                position=0, score_mult=score_mult, score_shift=score_shift, o_mult=o_mult,
                                o_shift=o_shift))
    return groups


def context_of(quantized, outputs):
    """Float context [T, hidden] from the groups' `GroupOutput`."""
    heads = len(quantized.q_scale)
    sentences = [np.concatenate([output.y for output in outputs[first:first + heads]], axis=1)
                 for first in range(0, len(outputs), heads)]
    return torch.from_numpy(np.concatenate(sentences) * quantized.o_scale).float()
