"""A quantized language model as one file: safetensors, with everything that is no array as JSON in its metadata.

Tensors are named ``token``, ``position``, ``norm.gamma``, ``head.codes``, ``layers.<index>.<part>.<array>``; 4-bit
codes are two to a byte, the even element of a pair along K in the high nibble. The metadata's ``format`` is `FORMAT`,
its ``version`` `VERSION`, its ``content`` the JSON. Neither writing nor reading needs torch.
"""

import json
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden.decoder.model import (
    LINEARS,
    Activation,
    AttentionScales,
    DecoderConfig,
    DecoderLayer,
    Embedding,
    Factor,
    Norm,
    QuantizedDecoder,
)
from olivine_golden.linear import LinearWeights
from olivine_golden.ovp import join_codes
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from .model import QuantizedLM

__all__ = ["FORMAT", "VERSION", "is_quantized", "load", "save"]

FORMAT = "olivine-decoder"
VERSION = 1

_SIZES = tuple(field.name for field in fields(DecoderConfig))
_SCALES = tuple(field.name for field in fields(AttentionScales))
_CACHES = ("attention", "attention_ovp4")


def save(path, lm):
    """Write a `QuantizedLM`; complete or not at all."""
    writer, decoder = _Writer(), lm.decoder
    config = {name: getattr(decoder.config, name) for name in _SIZES} | {"function": decoder.config.function.name}
    content = {
        "config": config, "info": lm.info, "logits_scale": decoder.logits_scale,
        "cache_formats": [decoder.key_format.name, decoder.value_format.name],
        "ovp4_formats": [lane_format.name for lane_format in lm.ovp4_formats],
        "token": writer.embedding("token", decoder.token), "position": writer.embedding("position", decoder.position),
        "norm": writer.norm("norm", decoder.norm), "head": writer.linear("head", decoder.head),
        "layers": [writer.layer(f"layers.{index}", layer, scales)
                   for index, (layer, scales) in enumerate(zip(decoder.layers, lm.ovp4_scales, strict=True))],
    }
    if lm.tokenizer:
        writer.tensors["tokenizer"] = np.frombuffer(lm.tokenizer.encode(), np.uint8)
    metadata = {"format": FORMAT, "version": str(VERSION), "content": json.dumps(content)}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(serialize(writer.tensors, metadata))
    partial.replace(path)


class _Writer:
    """Collects tensors; each method returns what goes into the JSON."""

    def __init__(self):
        self.tensors = {}

    def embedding(self, name, embedding):
        self.tensors[name] = embedding.table
        return list(embedding.add)

    def norm(self, name, norm):
        self.tensors[f"{name}.gamma"], self.tensors[f"{name}.beta"] = norm.gamma, norm.beta
        return norm.shift

    def linear(self, name, weights):
        codes = weights.codes if weights.format is LaneFormat.INT8 else join_codes(weights.codes)
        arrays = {"codes": codes, "multipliers": weights.multipliers, "bias": weights.bias, "mult": weights.mult,
                  "shift": weights.shift}
        self.tensors |= {f"{name}.{part}": np.ascontiguousarray(value) for part, value in arrays.items()
                         if value is not None}
        return {"format": weights.format.name, "group": weights.group.name, "group_shift": weights.group_shift}

    def layer(self, name, layer, ovp4_scales):
        for cache, scales in zip(_CACHES, (layer.attention, ovp4_scales)):
            self.tensors |= {f"{name}.{cache}.{part}": getattr(scales, part) for part in _SCALES}
        activation = layer.activation
        return {part: self.linear(f"{name}.{part}", getattr(layer, part)) for part in LINEARS} | {
            part: self.norm(f"{name}.{part}", getattr(layer, part)) for part in ("norm1", "norm2")} | {
            "proj_add": list(layer.proj_add), "down_add": list(layer.down_add),
            "activation": [activation.fraction, activation.mult, activation.shift]}


def is_quantized(path):
    """Whether a path is a file of this format, of any version."""
    path = Path(path)
    try:
        return path.is_file() and _metadata(path).get("format") == FORMAT
    except ValueError:
        return False


def load(path):
    """The `QuantizedLM` of a file.

    Raises
    ------
    ValueError
        If it is of another format or version, or damaged: the message names the file, and the tensor or field that
        is missing or wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    metadata = _metadata(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no quantized language model: its format is {metadata.get('format')!r}, "
                         f"not {FORMAT!r}")
    if metadata.get("version") != str(VERSION):
        raise ValueError(f"{path} is of version {metadata.get('version')}: this program reads version {VERSION}; "
                         "quantize the model again")
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return _Reader(tensors).model(json.loads(metadata["content"]))
    except KeyError as error:
        raise ValueError(f"{path} is damaged: {error.args[0]} is missing") from error
    except (SafetensorError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _metadata(path):
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


class _Reader:
    """The counterpart of `_Writer`. A missing tensor is a `KeyError` that names it."""

    def __init__(self, tensors):
        self._tensors = tensors

    def _take(self, name):
        if name not in self._tensors:
            raise KeyError(f"tensor {name}")
        return self._tensors[name]

    def _norm(self, name, shift):
        return Norm(self._take(f"{name}.gamma"), self._take(f"{name}.beta"), shift)

    def _linear(self, name, content, shape):
        lane_format, group = LaneFormat[content["format"]], Group[content["group"]]
        codes = self._take(f"{name}.codes")
        if lane_format is not LaneFormat.INT8:
            packed = -(-shape[0] // 2), shape[1]
            if codes.shape != packed or codes.dtype != np.uint8:
                raise ValueError(f"tensor {name}.codes is {codes.dtype}{codes.shape}: must be uint8{packed}")
            codes = np.stack([codes >> 4, codes & 15], axis=1).reshape(-1, shape[1])[:shape[0]]
        try:
            return LinearWeights(lane_format, group, np.ascontiguousarray(codes),
                                 None if group is Group.CHANNEL else self._take(f"{name}.multipliers"),
                                 content["group_shift"],
                                 *(self._take(f"{name}.{part}") for part in ("bias", "mult", "shift")))
        except ValueError as error:
            raise ValueError(f"tensor {name}: {error}") from None

    def _scales(self, name):
        return AttentionScales(*(self._take(f"{name}.{part}") for part in _SCALES))

    def _layer(self, name, content, shapes):
        linears = {part: self._linear(f"{name}.{part}", content[part], shape) for part, shape in shapes.items()}
        norms = {part: self._norm(f"{name}.{part}", content[part]) for part in ("norm1", "norm2")}
        return DecoderLayer(**linears, **norms, attention=self._scales(f"{name}.{_CACHES[0]}"),
                            proj_add=Factor(*content["proj_add"]), down_add=Factor(*content["down_add"]),
                            activation=Activation(*content["activation"]))

    def model(self, content):
        config = content["config"] | {"function": Function[content["config"]["function"]]}
        config = DecoderConfig(**config)
        shapes = config.linear_shapes()
        layers = [self._layer(f"layers.{index}", layer, shapes) for index, layer in enumerate(content["layers"])]
        ovp4 = tuple(self._scales(f"layers.{index}.{_CACHES[1]}") for index in range(config.layers))
        for scales in ovp4:
            scales.check(config)
        decoder = QuantizedDecoder(
            config, *(LaneFormat[name] for name in content["cache_formats"]),
            token=Embedding(self._take("token"), Factor(*content["token"])),
            position=Embedding(self._take("position"), Factor(*content["position"])), layers=layers,
            norm=self._norm("norm", content["norm"]),
            head=self._linear("head", content["head"], (config.d_model, config.vocab)),
            logits_scale=content["logits_scale"])
        tokenizer = self._tensors.get("tokenizer", np.zeros(0, np.uint8)).tobytes().decode()
        return QuantizedLM(decoder, tuple(LaneFormat[name] for name in content["ovp4_formats"]), ovp4, tokenizer,
                           content["info"])
