"""A decoder-only language model in float: plain numpy arrays, and what they compute."""

import math
from dataclasses import dataclass

import numpy as np
from olivine.vector.formats import Function
from olivine_golden.decoder.model import DecoderConfig

__all__ = ["FloatLayer", "FloatLinear", "FloatModel", "FloatNorm"]


@dataclass(frozen=True)
class FloatLinear:
    """``x @ weight.T + bias``: float32 [N, K] and [N]."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x):
        return x @ self.weight.T + self.bias


@dataclass(frozen=True)
class FloatNorm:
    """Layer norm: float32 [channels] each, and the epsilon."""

    gamma: np.ndarray
    beta: np.ndarray
    eps: float

    def __call__(self, x):
        d = x - x.mean(-1, keepdims=True)
        return d / np.sqrt(np.square(d).mean(-1, keepdims=True) + self.eps) * self.gamma + self.beta


@dataclass(frozen=True)
class FloatLayer:
    """One layer; the stages as `olivine_golden.decoder.model` lists them."""

    norm1: FloatNorm
    qkv: FloatLinear
    proj: FloatLinear
    norm2: FloatNorm
    up: FloatLinear
    down: FloatLinear


@dataclass(frozen=True)
class FloatModel:
    """The whole model.

    Parameters
    ----------
    config : DecoderConfig
    token, position : float32 [vocab, d_model], [context, d_model]
    layers : tuple of FloatLayer
    norm : FloatNorm
    head : FloatLinear
        Its bias is 0.
    attention_scale : float
        What scores are multiplied by.
    """

    config: DecoderConfig
    token: np.ndarray
    position: np.ndarray
    layers: tuple
    norm: FloatNorm
    head: FloatLinear
    attention_scale: float

    def activation(self, x):
        """The feed-forward layers' function."""
        return _FUNCTIONS[self.config.function](x)

    def attention(self, qkv):
        """Context [windows, tokens, heads * head_dim] of causal windows, from rows of ``qkv``."""
        config, (windows, tokens) = self.config, qkv.shape[:2]
        rows = qkv.reshape(windows, tokens, -1, config.head_dim).swapaxes(1, 2)
        q, k, v = np.split(rows, [config.heads, config.heads + config.kv_heads], axis=1)
        q = q.reshape(windows, config.kv_heads, config.group, tokens, config.head_dim)
        scores = q @ k.swapaxes(-1, -2)[:, :, None]
        scores *= np.float32(self.attention_scale)
        scores += np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        o = scores @ v[:, :, None]
        return o.reshape(windows, config.heads, tokens, -1).swapaxes(1, 2).reshape(windows, tokens, -1)

    def forward(self, ids, watch=lambda layer, stage, rows: None):
        """Logits float32 [windows, tokens, vocab] of windows ``ids``.

        ``watch(layer, stage, rows)`` sees [windows, tokens, channels] after each stage, the stages being those of
        `olivine_golden.decoder.forward.Decoder`.
        """
        def seen(index, stage, rows):
            watch(index, stage, rows)
            return rows

        x = seen(-1, "embedding", self.token[ids] + self.position[:ids.shape[1]])
        for index, layer in enumerate(self.layers):
            qkv = seen(index, "qkv", layer.qkv(seen(index, "norm1", layer.norm1(x))))
            x = x + seen(index, "proj", layer.proj(seen(index, "attention", self.attention(qkv))))
            watch(index, "middle", x)
            y = self.activation(seen(index, "up", layer.up(seen(index, "norm2", layer.norm2(x)))))
            x = x + seen(index, "down", layer.down(seen(index, "activation", y)))
            watch(index, "residual", x)
        return seen(len(self.layers), "head", self.head(seen(len(self.layers), "norm", self.norm(x))))


def _gelu_tanh(x):
    inner = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))
    return 0.5 * x * (1 + inner)


# numpy has no error function.
_erf = np.frompyfunc(math.erf, 1, 1)

_FUNCTIONS = {
    Function.GELU_TANH: _gelu_tanh,
    Function.GELU_ERF: lambda x: (0.5 * x * (1 + _erf(x * math.sqrt(0.5)).astype(np.float32))).astype(np.float32),
    Function.RELU: lambda x: np.maximum(x, 0),
    Function.SILU: lambda x: x / (1 + np.exp(-np.clip(x, -80, None))),
}
