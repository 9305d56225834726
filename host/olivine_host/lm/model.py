"""A quantized language model: its integers, the scales of both kinds of cache, its tokenizer."""

from dataclasses import dataclass, field, replace

from olivine.olive.formats import LaneFormat
from olivine_golden.decoder.model import QuantizedDecoder

__all__ = ["CACHES", "QuantizedLM"]

CACHES = ("int8", "ovp4")
"""Formats of the key-value cache, by name."""


@dataclass(frozen=True)
class QuantizedLM:
    """What a file holds.

    Parameters
    ----------
    decoder : QuantizedDecoder
        With keys and values in INT8.
    ovp4_formats : (LaneFormat, LaneFormat)
        Of keys and values in a 4-bit cache.
    ovp4_scales : tuple of AttentionScales
        Of each layer, for that cache.
    tokenizer : str
        JSON, or "" where there is none.
    info : dict
        Where it comes from: for people, and for tables.
    """

    decoder: QuantizedDecoder
    ovp4_formats: tuple
    ovp4_scales: tuple
    tokenizer: str = ""
    info: dict = field(default_factory=dict)

    @property
    def config(self):
        return self.decoder.config

    def with_cache(self, cache):
        """The `QuantizedDecoder` for a cache of ``CACHES``."""
        if cache not in CACHES:
            raise ValueError(f"cache is {cache!r}: allowed are {', '.join(map(repr, CACHES))}")
        if cache == "int8":
            return self.decoder
        if self.config.head_dim % 2:
            raise ValueError(f"cache is 'ovp4': heads of {self.config.head_dim} dimensions cannot be paired")
        layers = [replace(layer, attention=scales) for layer, scales in zip(self.decoder.layers, self.ovp4_scales)]
        return replace(self.decoder, key_format=self.ovp4_formats[0], value_format=self.ovp4_formats[1], layers=layers)

    @property
    def weight_bits(self):
        """Mean bits of a weight of the linear layers and the head, scales not counted."""
        linears = [getattr(layer, name) for layer in self.decoder.layers for name in ("qkv", "proj", "up", "down")]
        linears.append(self.decoder.head)
        bits = sum(weights.codes.size * LaneFormat(weights.format).bits for weights in linears)
        return bits / sum(weights.codes.size for weights in linears)
