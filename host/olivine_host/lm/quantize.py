"""From a float model to a quantized one: static scales from calibration text, each stage on what the quantized ones
before it give.

Compensated layers are also fitted to the float model, and their mean error goes into the bias, as
docs/quantization.md says of MiniLM. Scales: rows of int12 and keys and values by least squared error, results of
linear layers with room above the largest value seen.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.decoder.attention import HeadFactors
from olivine_golden.decoder.cache import Codec, layer_cache
from olivine_golden.decoder.exact import factor
from olivine_golden.decoder.model import LINEARS, DecoderLayer, QuantizedDecoder
from olivine_golden.decoder.stages import ActivationStage, Embeddings, LinearStage, NormStage, add

from ..minilm.compensate import fitted, with_bias_corrected
from ..quantize import activation_scale, quantize_linear
from ..quantize.heads import head_scale
from . import numbers
from .model import QuantizedLM
from .recipe import LMRecipe

__all__ = ["CALIBRATION_WINDOWS", "LANES", "Grid", "Pipeline", "calibration_windows", "quantize", "tensor_names"]

CALIBRATION_WINDOWS = 48
"""Windows of calibration text, spread evenly over it."""

HEADROOM = {"k": 1.5, "v": 1.5, "up": 1.25, "add": 2.0, "head": 1.5}
"""Room above the largest result seen; of 16 bits one is easily spared."""

RESIDUAL_LIMIT = 8192
"""The residual stream holds less than this."""

_CACHE_ROWS = 1024
"""Rows on which the scales of 4-bit keys and values are searched."""

LANES = 64
"""Keys of a page during calibration: they move the last bits, not the calibration."""

_OVP = (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)


@dataclass(frozen=True)
class Grid:
    """Scales that someone else chose for a tensor's weights: its format, and float [groups, N]."""

    format: LaneFormat
    scales: np.ndarray


def tensor_names(config):
    """(layer, stage) of each linear layer in order; the head is ``(config.layers, "head")``."""
    return [*((index, stage) for index in range(config.layers) for stage in LINEARS), (config.layers, "head")]


def calibration_windows(ids, context, windows=CALIBRATION_WINDOWS):
    """Windows [windows, context] of a text's ``ids``, spread evenly; ValueError where it is shorter than one."""
    ids = np.asarray(ids)
    if len(ids) < context:
        raise ValueError(f"the calibration text has {len(ids)} tokens: must have a window, {context}")
    starts = np.linspace(0, len(ids) - context, min(windows, max(len(ids) // context, 1))).astype(int)
    return np.stack([ids[start:start + context] for start in starts])


def quantize(model, ids, recipe=LMRecipe(), *, formats=None, grids=None, tokenizer="", report=None):  # noqa: B008
    """Quantize a model.

    Parameters
    ----------
    model : FloatModel
    ids : int array [windows, tokens]
        Calibration text.
    recipe : LMRecipe
        Not "mixed", unless ``formats`` say what that means.
    formats : dict or None
        Format's name by tensor, as of `tensor_names`; None: the recipe's.
    grids : dict or None
        `Grid` by tensor, for those that are not to be searched.
    tokenizer : str
        JSON of the tokenizer, kept in the result.
    report : callable or None
        Called with a line of text before each layer.

    Returns
    -------
    QuantizedLM

    Raises
    ------
    ValueError
        If the residual stream outgrows its 24 bits on the calibration text, or numbers cannot be represented.
    """
    return Pipeline(model, ids, recipe, formats=formats, grids=grids, report=report).run(tokenizer)


@dataclass
class _Stored:
    """Real scales of one layer's heads, from which the scales of every cache follow."""

    q: list
    k: list
    v: list
    o: float
    keys: dict = field(default_factory=dict)
    values: dict = field(default_factory=dict)


class Pipeline:
    """What `quantize` does, with its parameters; keeps what the model's numbers do not tell any more.

    Attributes
    ----------
    linears : dict
        `QuantizedLinear` by tensor, with the scales of its rows and results.
    """

    def __init__(self, model, ids, recipe, *, formats=None, grids=None, report=None):
        if formats is None:
            if recipe.format == "mixed":
                raise ValueError("format is 'mixed': `budget.choose_formats` says what that means")
            formats = {name: recipe.head if name[1] == "head" else recipe.format for name in tensor_names(model.config)}
        self.model, self.config, self.recipe = model, model.config, recipe
        self.formats, self.grids, self.report = formats, grids or {}, report or (lambda line: None)
        self.windows, self.tokens = ids.shape
        self.ids, self.linears = ids, {}
        # Heads of odd dimensions have no 4-bit cache.
        self._paired = self.config.head_dim % 2 == 0
        self.errors = {name: dict.fromkeys(_OVP, 0.0) for name in ("keys", "values")}

    def run(self, tokenizer=""):
        """The `QuantizedLM`."""
        model, config = self.model, self.config
        token, position = numbers.embedding(model.token), numbers.embedding(model.position)
        positions = np.tile(np.arange(self.tokens), self.windows)
        residual = Embeddings(token, position)(self.ids.ravel(), positions)
        reference = (model.token[self.ids] + model.position[:self.tokens]).reshape(-1, config.d_model)
        layers, stored = [], []
        for index, layer in enumerate(model.layers):
            self.report(f"quantizing layer {index} on {self.ids.size:,} tokens")
            made, scales, reference = self._layer(index, layer, residual, reference)
            layers.append(made)
            stored.append(scales)
        self.report("quantizing the head")
        norm, a, scale = self._norm(model.norm, residual)
        head, _, _ = self._linear((config.layers, "head"), model.head, a, scale, model.norm(reference),
                                  lambda y: self._scale(y, "head"))
        decoder = QuantizedDecoder(config, LaneFormat.INT8, LaneFormat.INT8, token, position, layers, norm,
                                   head.weights, head.y_scale)
        ovp4 = tuple(min(_OVP, key=self.errors[name].get) if self._paired else LaneFormat.INT8
                     for name in ("keys", "values"))
        recipe = str(self.recipe).replace("nearest", "nearest after fine-tuning") if self.grids else str(self.recipe)
        info = {"recipe": recipe,
                "formats": {f"{index}.{stage}": self.formats[index, stage] for index, stage in self.formats}}
        return QuantizedLM(decoder, ovp4, tuple(self._scales(scales, ovp4) for scales in stored), tokenizer, info)

    def _scale(self, y, room):
        """Scale of int16 results ``y``."""
        return float(np.abs(y).max()) * HEADROOM[room] / 32767 or 1.0

    def _norm(self, layer, residual):
        """`Norm`, its int12 rows, and their scale."""
        x = layer(residual * numbers.RESIDUAL_STEP)
        scale = activation_scale(x, 12, "mse")
        made = numbers.norm(layer.gamma, layer.beta, scale)
        return made, NormStage(self.config, made)(residual), scale

    def _linear(self, name, layer, x, x_scale, reference, y_scale_of):
        """`QuantizedLinear`, its results on integer rows ``x``, and the float layer's on its own rows."""
        options = self.recipe.options(self.formats[name])
        compensate = options["method"] == "gptq"
        wanted = layer(reference)
        weight, hessian = layer.weight, None
        if compensate:
            real = x * x_scale
            weight = fitted(torch.from_numpy(weight), torch.from_numpy(real), torch.from_numpy(reference)).numpy()
            hessian = real.T @ real / len(real)
        if name in self.grids:
            options |= {"format": self.grids[name].format, "scales": self.grids[name].scales, "method": "nearest"}
        quantized = quantize_linear(weight, layer.bias, x_scale=x_scale, y_scale=y_scale_of(wanted),
                                    y_format=RowFormat.INT16, hessian=hessian, **options)
        y = LinearStage(quantized.weights)(x)
        if compensate:
            quantized = with_bias_corrected(quantized, (wanted - y * quantized.y_scale).mean(0))
            y = LinearStage(quantized.weights)(x)
        self.linears[name] = quantized
        return quantized, y, wanted

    def _layer(self, index, layer, residual, reference):
        """`DecoderLayer`, `_Stored`, the float rows behind the layer; ``residual`` changes in place."""
        norm1, a, scale = self._norm(layer.norm1, residual)
        qkv, y, y_reference = self._linear((index, "qkv"), layer.qkv, a, scale, layer.norm1(reference),
                                           self._qkv_scales)
        o_reference = self._float_attention(y_reference)
        stored = self._stored(y * qkv.y_scale, qkv.y_scale, o_reference)
        attention = self._scales(stored, (LaneFormat.INT8, LaneFormat.INT8))
        o = self._attend(attention, y)
        proj, y, y_reference = self._linear((index, "proj"), layer.proj, o, stored.o, o_reference,
                                            lambda y: self._scale(y, "add"))
        proj_add = numbers.residual_add(proj.y_scale)
        add(residual, y, factor(*proj_add))
        reference = self._checked(index, "attention", reference + y_reference)

        norm2, a, scale = self._norm(layer.norm2, residual)
        up_reference = layer.norm2(reference)
        fraction = numbers.fraction_of(np.abs(layer.up(up_reference)).max() * HEADROOM["up"])
        up, y, y_reference = self._linear((index, "up"), layer.up, a, scale, up_reference, lambda y: 2.0 ** -fraction)
        a_reference = self.model.activation(y_reference)
        scale = activation_scale(a_reference, 12, "mse")
        activation = numbers.activation(fraction, scale)
        a = ActivationStage(self.config.function, activation)(y)
        down, y, y_reference = self._linear((index, "down"), layer.down, a, scale, a_reference,
                                            lambda y: self._scale(y, "add"))
        down_add = numbers.residual_add(down.y_scale)
        add(residual, y, factor(*down_add))
        reference = self._checked(index, "the feed-forward layers", reference + y_reference)
        return DecoderLayer(norm1, qkv.weights, attention, proj.weights, proj_add, norm2, up.weights, activation,
                            down.weights, down_add), stored, reference

    @staticmethod
    def _checked(index, where, reference):
        largest = float(np.abs(reference).max())
        if largest >= RESIDUAL_LIMIT:
            raise ValueError(f"the residual stream reaches {largest:.0f} behind {where} of layer {index}: it holds "
                             f"less than {RESIDUAL_LIMIT}")
        return reference

    def _heads(self, y):
        """q, k and v [heads, rows, d] of rows of ``qkv``."""
        config = self.config
        parts = np.split(y.reshape(len(y), -1, config.head_dim).swapaxes(0, 1),
                         [config.heads, config.heads + config.kv_heads])
        return dict(zip("qkv", parts))

    def _qkv_scales(self, y):
        """Scale of each channel of ``qkv``: one a head; queries within int12."""
        heads = self._heads(y)
        scales = [activation_scale(head, 12, "mse") for head in heads["q"]]
        scales += [self._scale(head, name) for name in "kv" for head in heads[name]]
        return np.repeat(scales, self.config.head_dim)

    def _stored(self, y, y_scale, o_reference):
        """Scales of a layer's heads, of real rows ``y``."""
        heads = self._heads(y)
        scales = {name: part[:, 0, 0].tolist() for name, part in self._heads(y_scale[None]).items()}
        made = _Stored(**scales, o=activation_scale(o_reference, 12, "mse"))
        rows = np.linspace(0, len(y) - 1, min(len(y), _CACHE_ROWS)).astype(int)
        for name, table, part in (("keys", made.keys, "k"), ("values", made.values, "v")):
            table[LaneFormat.INT8] = [activation_scale(head, 8, "mse") for head in heads[part]]
            for lane_format in _OVP if self._paired else ():
                found = [head_scale(np.ascontiguousarray(head[rows]), lane_format) for head in heads[part]]
                table[lane_format] = [scale for scale, _ in found]
                self.errors[name][lane_format] += sum(error for _, error in found)
        return made

    def _scales(self, stored, lane_formats):
        return numbers.attention_scales(
            self.config, lane_formats, q=stored.q, k=stored.k, v=stored.v, o=stored.o,
            stored_k=stored.keys[lane_formats[0]], stored_v=stored.values[lane_formats[1]],
            attention_scale=self.model.attention_scale)

    def _float_attention(self, y):
        rows = y.reshape(self.windows, self.tokens, -1)
        return np.concatenate([self.model.attention(window[None])[0] for window in rows])

    def _attend(self, scales, y):
        """int12 rows, window by window."""
        config, by = self.config, HeadFactors(self.config, scales)
        key, value = (Codec(LaneFormat.INT8, getattr(scales, f"{name}_mult"), getattr(scales, f"{name}_shift"))
                      for name in ("key", "value"))
        outputs = []
        for rows in y.reshape(self.windows, self.tokens, -1):
            parts = self._heads(rows)
            q = np.clip(parts["q"], -2048, 2047).reshape(1, config.kv_heads, config.group, -1, config.head_dim)
            o = layer_cache(config, 1).step(q, key(parts["k"][None]), value(parts["v"][None]), LANES, by)
            outputs.append(o.reshape(config.heads, -1, config.head_dim).swapaxes(0, 1).reshape(self.tokens, -1))
        return np.concatenate(outputs)
