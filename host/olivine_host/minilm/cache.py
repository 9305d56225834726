"""Quantized layers on disk, found again by a digest of everything that they were made from."""

import hashlib
import os
from pathlib import Path

import numpy as np
import olivine.attention.descriptor
import olivine.config
import olivine.linear.descriptor
import olivine.olive.formats
import olivine_golden
from olivine.linear.descriptor import Group, RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.linear import LinearWeights

from ..quantize import QuantizedLinear
from ..simulation.build import build_root
from .attention import QuantizedAttention

__all__ = ["default_folder", "digest", "load_layer", "save_layer"]

HEAD_SCALES = ("q_scale", "k_scale", "v_scale")

ARRAYS = ("codes", "multipliers", "bias", "mult", "shift")


def default_folder():
    """Where quantized layers are kept."""
    return build_root() / "quantized"


def _sources():
    """Files whose change changes what the quantizer gives."""
    here = Path(__file__).parent
    golden = Path(olivine_golden.__file__).parent
    modules = (olivine.config, olivine.attention.descriptor, olivine.linear.descriptor, olivine.olive.formats)
    return [*sorted(here.glob("*.py")), *sorted((here.parent / "quantize").glob("*.py")),
            *sorted(golden.glob("*.py")), *(Path(module.__file__) for module in modules)]


def digest(model, recipe, sentences):
    """Name of the quantized model: a hash of weights, recipe, text and the quantizing code."""
    state = hashlib.sha256(f"{recipe}\n{np.__version__}\n".encode())
    for path in _sources():
        state.update(path.read_bytes())
    for sentence in sentences:
        state.update(sentence.encode() + b"\n")
    for tensor in model.tensors():
        state.update(tensor.numpy())
    return state.hexdigest()[:16]


def save_layer(path, layer):
    """Write one layer's quantized stages; complete or not at all."""
    content = {}
    for stage, quantized in layer.items():
        if isinstance(quantized, QuantizedAttention):
            for name in (*HEAD_SCALES, "o_scale"):
                content[f"{stage}.{name}"] = getattr(quantized, name)
            continue
        weights = quantized.weights
        for name in ARRAYS:
            if getattr(weights, name) is not None:
                content[f"{stage}.{name}"] = getattr(weights, name)
        content[f"{stage}.formats"] = np.array([
            weights.format.value, weights.group.value, weights.group_shift,
            quantized.x_format.value, quantized.y_format.value])
        content[f"{stage}.scales"] = np.array([quantized.x_scale, quantized.y_scale], np.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(partial, **content)
    partial.replace(path)


def load_layer(path):
    """The stages that `save_layer` wrote, or None where there is no such file."""
    if not path.exists():
        return None
    with np.load(path) as content:
        content = dict(content)
    layer = {}
    for name in content:
        stage, kind = name.split(".")
        if kind == "o_scale":
            heads = (content[f"{stage}.{scale}"] for scale in HEAD_SCALES)
            layer[stage] = QuantizedAttention(*heads, float(content[name]))
        if kind != "formats":
            continue
        lane_format, group, group_shift, x_format, y_format = map(int, content[name])
        arrays = {array: content.get(f"{stage}.{array}") for array in ARRAYS}
        weights = LinearWeights(LaneFormat(lane_format), Group(group), group_shift=group_shift, **arrays)
        x_scale, y_scale = map(float, content[f"{stage}.scales"])
        layer[stage] = QuantizedLinear(weights, RowFormat(x_format), RowFormat(y_format), x_scale, y_scale)
    return layer
