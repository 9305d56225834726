"""A model in memory: where its numbers lie and what the instructions must know of them."""

from dataclasses import dataclass

import numpy as np
from olivine.attention.descriptor import ENTRY_BYTES
from olivine.config import ConfigError
from olivine.control.instruction import INSTRUCTION_BYTES
from olivine.kvcache.append.descriptor import AppendScales
from olivine.linear.descriptor import RowFormat, panel_bytes
from olivine.vector.formats import MAX_CHANNELS
from olivine_golden.vector.norm import NormJob

from ..jobs import pack_weights
from .memory_map import Activations, MemoryMap, align, cache_geometry

__all__ = ["LinearPlace", "NormPlace", "LayerPlaces", "CompiledModel"]

TABLE_BYTES = 1 << 16
"""Room for the tables of a step beside those of attention."""

PROGRAM_INSTRUCTIONS = 4096
"""Longest program."""


@dataclass(frozen=True)
class LinearPlace:
    """Weights in memory: address, the linear layer's own fields of its descriptor, and its sizes."""

    address: int
    fields: dict
    k: int
    n: int
    panel_bytes: int


@dataclass(frozen=True)
class NormPlace:
    """Parameters of a norm: address, and its fields of a descriptor."""

    address: int
    fields: dict


@dataclass(frozen=True)
class LayerPlaces:
    """One decoder layer."""

    norm1: NormPlace
    qkv: LinearPlace
    scales: int
    proj: LinearPlace
    norm2: NormPlace
    up: LinearPlace
    down: LinearPlace


class CompiledModel:
    """Places for a `QuantizedDecoder`, its cache and its activations.

    Parameters
    ----------
    config : AcceleratorConfig
    decoder : QuantizedDecoder
    blocks : int or None
        Of the cache's pool; by default enough for as many sequences of full context as the core holds, at most those
        configured.
    hitters : bool
        Room for heavy-hitter records.
    sets : int
        Activations of so many large steps: a program may hold several, which then run into each other.

    Attributes
    ----------
    memory : MemoryMap
    regions : list of (int, bytes)
        What memory must hold before the first step.
    geometry : dict
        Of the cache, see `cache_geometry`.
    layers : list of LayerPlaces

    Raises
    ------
    ConfigError
        If the model does not fit the configuration: what, and by how much.
    """

    def __init__(self, config, decoder, *, blocks=None, hitters=True, sets=1):
        self.config, self.decoder, self.sets = config, decoder, sets
        self._check()
        self.memory, self.regions = MemoryMap(config), []
        sizes, memory = decoder.config, self.memory
        self.program = memory.take("program", PROGRAM_INSTRUCTIONS * INSTRUCTION_BYTES)
        entries = sizes.layers * sizes.heads * config.chunk_rows * ENTRY_BYTES
        self.tables = memory.take("tables of a step", entries + TABLE_BYTES)
        self.token = self._embedding("token embedding", decoder.token)
        self.position = self._embedding("position embedding", decoder.position)
        self.layers = [self._layer(index, layer) for index, layer in enumerate(decoder.layers)]
        self.norm = self._norm("last norm", decoder.norm)
        self.head = self._linear("head", decoder.head)

        needed = min(config.sequences, config.chunk_rows) * -(-sizes.context // config.lanes)
        blocks = min(config.blocks, needed) if blocks is None else blocks
        most = config.cells.bit_length() - 1
        self.geometry = cache_geometry(config, memory, sizes.layers * sizes.kv_heads, sizes.head_dim,
                                       decoder.key_format, decoder.value_format, blocks,
                                       min(most, max(3, (sizes.context - 1).bit_length())), hitters)
        self._rows()

    def _check(self):
        config, sizes = self.config, self.decoder.config
        widest = max(sizes.d_model, sizes.hidden, sizes.heads * sizes.head_dim)
        for name, value, most in (("d_model", sizes.d_model, min(MAX_CHANNELS, config.max_reduction)),
                                  ("head_dim", sizes.head_dim, config.max_head_dim),
                                  ("the largest reduction", widest, config.max_reduction),
                                  ("context", sizes.context, config.max_sequence)):
            if value > most:
                raise ConfigError(f"{name} is {value}: preset {config.name!r} has at most {most}, {value - most} fewer")
        if sizes.head_dim % 8:
            raise ConfigError(f"head_dim is {sizes.head_dim}: allowed are multiples of 8")
        if config.bus_bytes != 2 * config.rows:
            raise ConfigError(f"bus_bits is {config.bus_bits}: the core needs {16 * config.rows}, a word of "
                              f"{config.rows} rows")

    # What never changes

    def _keep(self, name, content):
        place = self.memory.take(name, len(content))
        self.regions.append((place.address, content + bytes(-len(content) % self.config.bus_bytes)))
        return place.address

    def _embedding(self, name, embedding):
        width = align(2 * embedding.table.shape[1], self.config.bus_bytes) // 2
        table = np.zeros((len(embedding.table), width), "<i2")
        table[:, :embedding.table.shape[1]] = embedding.table
        return self._keep(name, table.tobytes())

    def _norm(self, name, norm):
        sizes = self.decoder.config
        content = np.stack([norm.gamma, norm.beta], axis=1).astype("<i2").tobytes()
        job = NormJob.of(sizes.d_model, sizes.eps, sizes.centred)
        return NormPlace(self._keep(name, content), {
            "norm": 1 if sizes.centred else 2, "format": RowFormat.INT12.value, "out_shift": norm.shift,
            "reciprocal": job.reciprocal, "epsilon": job.epsilon})

    def _linear(self, name, weights):
        k, n = weights.codes.shape
        return LinearPlace(self._keep(name, pack_weights(weights, self.config.lanes)), {
            "weight_format": weights.format, "group": weights.group, "group_shift": weights.group_shift}, k, n,
            panel_bytes(self.config.lanes, k, weights.format, weights.group))

    def _layer(self, index, layer):
        scales = layer.attention
        names = "key_mult", "key_shift", "value_mult", "value_shift"
        entries = b"".join(AppendScales.const({name: int(getattr(scales, name)[head]) for name in names}).as_value()
                           .value.to_bytes(AppendScales.size // 8, "little")
                           for head in range(self.decoder.config.kv_heads))
        return LayerPlaces(
            self._norm(f"layer {index} norm 1", layer.norm1), self._linear(f"layer {index} qkv", layer.qkv),
            self._keep(f"layer {index} cache scales", entries), self._linear(f"layer {index} proj", layer.proj),
            self._norm(f"layer {index} norm 2", layer.norm2), self._linear(f"layer {index} up", layer.up),
            self._linear(f"layer {index} down", layer.down))

    # What a step makes

    def _rows(self):
        """Activations. A step of one row group, as decoding makes them, has all in the scratchpad if they fit. A larger
        one has there, where the other had its own, what linear layers read: the array waits for it. The rows of
        ``proj`` and those of ``down`` share their place, and so do all sets: none is made before the last was read."""
        sizes, config = self.decoder.config, self.config
        channels = {"residual": 2 * sizes.d_model, "normalised": sizes.d_model, "result": sizes.d_model,
                    "embedding": sizes.d_model, "qkv": sizes.qkv_channels, "attention": sizes.heads * sizes.head_dim,
                    "activated": sizes.hidden, "hidden": sizes.hidden, "picked": sizes.d_model}
        word = config.bus_bytes
        bytes_of = {name: count * word for name, count in channels.items()}
        self.small = {name: Activations(self.memory.take_near(f"{name} rows, one row group", size), size)
                      for name, size in bytes_of.items()}
        self.memory.empty_scratchpad()
        widest = max(bytes_of["attention"], bytes_of["activated"])
        near = {"normalised": self.memory.take_near("normalised rows", config.contexts * bytes_of["normalised"]),
                "attention": self.memory.take_near("rows of proj and of down", config.contexts * widest)}
        near["activated"] = near["attention"]
        self.large = [{name: Activations(
            near.get(name) or self.memory.take(f"{name} rows", config.contexts * size), size)
            for name, size in bytes_of.items()} for _ in range(self.sets)]
        self.logits = Activations(self.memory.take("logits", config.contexts * sizes.vocab * word), sizes.vocab * word)
        self.largest = self.memory.take("largest logits", config.chunk_rows * 64)
        self.lse = self.memory.take("log-sum-exp of heavy hitters",
                                    config.chunk_rows * sizes.heads * config.chunk_rows * 4)
