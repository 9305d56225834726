"""A decoder-only language model in integers, as the accelerator holds it: the numbers, and what each stands for.

A step takes rows (tokens) through these stages; `forward` is the exact arithmetic::

    r  = 0 + token.table[id] * token factor                    gather, residual (24 bits, 10 fractional)
    r  = r + position.table[position] * position factor
    for each layer
        r  = r + y * down_add of the layer before              not in the first layer
        a  = norm1(r)                                          int12
        y  = qkv(a)                                            int16; q channels lie in the range of int12
        keys, values -> cache                                  append, by KV head
        o  = attention of each head                            int12
        y  = proj(o)                                           int16
        r  = r + y * proj_add
        a  = norm2(r)                                          int12
        y  = up(a)                                             int16 with `fraction` fractional bits
        a  = activation(y)                                     int12
        y  = down(a)                                           int16
    r  = r + y * down_add of the last layer
    a  = norm(r)                                               int12
    logits = head(a)                                           int16, in steps of `logits_scale`

Every "* factor" is ``rsh(x * mult, shift)``. All real scales are static and folded into these numbers; nothing but
`logits_scale` is left of them.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function

from ..linear import LinearWeights

__all__ = ["LINEARS", "Activation", "AttentionScales", "DecoderConfig", "DecoderLayer", "Embedding", "Factor", "Norm",
           "QuantizedDecoder"]

LINEARS = ("qkv", "proj", "up", "down")
"""The linear layers of a decoder layer, in the order of their use."""

CACHE_FORMATS = (LaneFormat.INT8, LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)


class Factor(NamedTuple):
    """``rsh(x * mult, shift)``; ``mult`` is unsigned 16 bit, ``shift`` 0 to 63."""

    mult: int
    shift: int


def _check_factor(name, mult, shift):
    if not (0 <= mult < 1 << 16 and 0 <= shift < 64):
        raise ValueError(f"{name} is {mult} >> {shift}: mult must be 0 to 65535, shift 0 to 63")


def _check_array(name, value, dtype, shape):
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        found = f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else repr(value)
        raise ValueError(f"{name} is {found}: must be {np.dtype(dtype)}{shape}")


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and kinds of a decoder.

    Parameters
    ----------
    layers, d_model, heads, kv_heads, head_dim, hidden, context, vocab : int
        ``kv_heads`` divides ``heads``: query head h uses KV head ``h // (heads / kv_heads)``.
    function : Function
        Activation of the feed-forward layers.
    centred : bool
        Layer norm; RMS norm is not implemented.
    eps : float
        Of the norms, in units of the squared residual.
    """

    layers: int
    d_model: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    context: int
    vocab: int
    function: Function
    centred: bool = True
    eps: float = 1e-5

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and not (isinstance(value, int) and value >= 1):
                raise ValueError(f"{field.name} is {value!r}: must be an integer of 1 or more")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads is {self.heads}: must be a multiple of kv_heads, {self.kv_heads}")
        if not self.centred:
            raise ValueError("centred is False: RMS norm is not implemented")

    @property
    def group(self):
        """Query heads that share a KV head."""
        return self.heads // self.kv_heads

    @property
    def qkv_channels(self):
        """Output channels of ``qkv``: q of all heads, k of all KV heads, v of all KV heads, each head's together."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def key_channel(self):
        """First channel of the keys among those of ``qkv``."""
        return self.heads * self.head_dim

    @property
    def value_channel(self):
        """First channel of the values among those of ``qkv``."""
        return (self.heads + self.kv_heads) * self.head_dim

    def linear_shapes(self):
        """(K, N) of the linear layers of a decoder layer by name."""
        return {"qkv": (self.d_model, self.qkv_channels), "proj": (self.heads * self.head_dim, self.d_model),
                "up": (self.d_model, self.hidden), "down": (self.hidden, self.d_model)}


@dataclass(frozen=True)
class Embedding:
    """A table of rows, and what a row adds to the residual stream.

    Parameters
    ----------
    table : int16 [rows, d_model]
    add : Factor
    """

    table: np.ndarray
    add: Factor


@dataclass(frozen=True)
class Norm:
    """Layer norm to int12: ``rsh(rsh(n * gamma, shift) + beta, 4)``, as of `olivine_golden.vector.norm`.

    Parameters
    ----------
    gamma, beta : int16 [d_model]
    shift : int
        0 to 63.
    """

    gamma: np.ndarray
    beta: np.ndarray
    shift: int


@dataclass(frozen=True)
class Activation:
    """``sat12(rsh(function(x) * mult, shift))`` of int16 x with ``fraction`` fractional bits, 8 to 12.

    The function is the model's, `DecoderConfig.function`."""

    fraction: int
    mult: int
    shift: int


@dataclass(frozen=True)
class AttentionScales:
    """Factors of append and attention, int64 arrays.

    Parameters
    ----------
    key_mult, key_shift, value_mult, value_shift : [kv_heads]
        From int16 to the cache's codes (in 4 bit, to half units).
    score_mult, score_shift, o_mult, o_shift : [heads]
        As of `olivine_golden.attention.Group`; results are int12. An ``o_mult`` of 0 stands for 2**16.
    """

    key_mult: np.ndarray
    key_shift: np.ndarray
    value_mult: np.ndarray
    value_shift: np.ndarray
    score_mult: np.ndarray
    score_shift: np.ndarray
    o_mult: np.ndarray
    o_shift: np.ndarray

    KV = ("key", "value")
    QUERY = ("score", "o")

    def check(self, config):
        for names, count in ((self.KV, config.kv_heads), (self.QUERY, config.heads)):
            for name in names:
                mult, shift = getattr(self, f"{name}_mult"), getattr(self, f"{name}_shift")
                _check_array(f"{name}_mult", mult, np.int64, (count,))
                _check_array(f"{name}_shift", shift, np.int64, (count,))
                for pair in zip(mult.tolist(), shift.tolist()):
                    _check_factor(name, *pair)


@dataclass(frozen=True)
class DecoderLayer:
    """One layer.

    Parameters
    ----------
    norm1, norm2 : Norm
        Before ``qkv`` and before ``up``.
    qkv, proj, up, down : LinearWeights
        Of K x N as `DecoderConfig.linear_shapes` says.
    attention : AttentionScales
    proj_add, down_add : Factor
        From results of ``proj`` and ``down`` to the residual stream.
    activation : Activation
    """

    norm1: Norm
    qkv: LinearWeights
    attention: AttentionScales
    proj: LinearWeights
    proj_add: Factor
    norm2: Norm
    up: LinearWeights
    activation: Activation
    down: LinearWeights
    down_add: Factor


@dataclass(frozen=True)
class QuantizedDecoder:
    """The whole model, for caches of one format.

    Parameters
    ----------
    config : DecoderConfig
    key_format, value_format : LaneFormat
        Of the key-value cache: INT8, OVP4_INT or OVP4_FLINT.
    token : Embedding
        Of ``vocab`` rows.
    position : Embedding
        Of ``context`` rows.
    layers : tuple of DecoderLayer
    norm : Norm
        The last one.
    head : LinearWeights
        d_model x vocab.
    logits_scale : float
        Real value, a natural logarithm, of one step of the logits.
    """

    config: DecoderConfig
    key_format: LaneFormat
    value_format: LaneFormat
    token: Embedding
    position: Embedding
    layers: tuple
    norm: Norm
    head: LinearWeights
    logits_scale: float

    def __post_init__(self):
        config = self.config
        object.__setattr__(self, "layers", tuple(self.layers))
        for name in ("key_format", "value_format"):
            if getattr(self, name) not in CACHE_FORMATS:
                raise ValueError(f"{name} is {getattr(self, name)!r}: allowed are "
                                 f"{', '.join(lane_format.name for lane_format in CACHE_FORMATS)}")
        if len(self.layers) != config.layers:
            raise ValueError(f"there are {len(self.layers)} layers: must be {config.layers}")
        for name, rows in (("token", config.vocab), ("position", config.context)):
            embedding = getattr(self, name)
            _check_array(f"{name}.table", embedding.table, np.int16, (rows, config.d_model))
            _check_factor(f"{name}.add", *embedding.add)
        self._check_norm("norm", self.norm)
        _check_linear("head", self.head, (config.d_model, config.vocab))
        for index, layer in enumerate(self.layers):
            try:
                self._check_layer(layer)
            except ValueError as error:
                raise ValueError(f"layer {index}: {error}") from None

    def _check_norm(self, name, norm):
        for part in ("gamma", "beta"):
            _check_array(f"{name}.{part}", getattr(norm, part), np.int16, (self.config.d_model,))
        _check_factor(name, 0, norm.shift)

    def _check_layer(self, layer):
        for name in ("norm1", "norm2"):
            self._check_norm(name, getattr(layer, name))
        for name, shape in self.config.linear_shapes().items():
            _check_linear(name, getattr(layer, name), shape)
        for name in ("proj_add", "down_add"):
            _check_factor(name, *getattr(layer, name))
        layer.attention.check(self.config)
        _check_factor("activation", layer.activation.mult, layer.activation.shift)
        if not 8 <= layer.activation.fraction <= 12:
            raise ValueError(f"activation.fraction is {layer.activation.fraction}: allowed is 8 to 12")


def _check_linear(name, weights, shape):
    if weights.codes.shape != shape:
        raise ValueError(f"{name} is {weights.codes.shape}: must be {shape}, input by output channels")
