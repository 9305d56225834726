"""MiniLM's linear layers and attention, quantized on calibration text: static scales, weights as the recipe
says."""

import torch
from olivine.config import PRESETS
from olivine.linear.descriptor import RowFormat
from olivine_golden.linear import linear

from ..backends import GoldenBackend
from ..quantize import activation_scale, quantize_linear
from ..recipe import FORMATS, GROUPS
from ..rows import quantize_rows, symmetric_scale
from .attention import OPTIONS, attention_groups, calibrate_attention, context_of
from .cache import default_folder, digest, load_layer, save_layer
from .compensate import fitted, with_bias_corrected

__all__ = ["X_FORMAT", "Y_FORMAT", "QuantizedMiniLM", "quantize_layer"]

X_FORMAT = RowFormat.INT12
Y_FORMAT = RowFormat.INT16
"""What the float parts on the host read: 16 bits are as good as float here."""

Y_HEADROOM = 2.0
"""Room above the largest result seen in calibration; of 16 bits one is easily spared."""


def _run_golden(quantized, x):
    """Float results of a quantized layer on float rows, by the golden model."""
    x_int = quantize_rows(x, quantized.x_scale, quantized.x_format)
    y, _ = linear(x_int, quantized.weights, quantized.y_format)
    return torch.from_numpy(y * quantized.y_scale).float()


def _attend_golden(quantized, qkv, batch):
    """Float results of the quantized attention on float rows, by the golden model.

    Pages are those of one preset: their size moves the last bits, not the calibration.
    """
    result = GoldenBackend(PRESETS["edge"]).run_attention(attention_groups(quantized, qkv, batch), **OPTIONS)
    return context_of(quantized, result.outputs)


def _quantize_stage(layer, x, reference, recipe, x_scale=None):
    """Quantize one float `Linear`, calibrated on rows [tokens, K] that reach it.

    ``x`` are the rows of the quantized model, ``reference`` those of the float one. With compensation,
    weights and bias also make up for the difference between them. ``x_scale`` is that of ``x`` where what gives
    ``x`` is already quantized.

    Returns the `QuantizedLinear` and its results on ``x``.
    """
    compensate = recipe.method == "gptq"
    weight, hessian = layer.weight, None
    if compensate:
        weight = fitted(layer.weight, x, reference)
        hessian = (x.double().T @ x.double() / len(x)).numpy()
    wanted = layer(reference)
    quantized = quantize_linear(
        weight.numpy(), layer.bias.numpy(),
        x_scale=activation_scale(x.numpy(), X_FORMAT.bits, "mse") if x_scale is None else x_scale,
        y_scale=symmetric_scale(wanted.abs().max() * Y_HEADROOM, Y_FORMAT),
        x_format=X_FORMAT, y_format=Y_FORMAT, format=FORMATS[recipe.format], group=GROUPS[recipe.group],
        method=recipe.method, hessian=hessian)
    y = _run_golden(quantized, x)
    if compensate:
        quantized = with_bias_corrected(quantized, (wanted - y).double().mean(0).numpy())
        y = _run_golden(quantized, x)
    return quantized, y


def quantize_layer(model, index, x, reference, batch, recipe):
    """Quantize one encoder layer, each stage calibrated on what the quantized ones before it give.

    Parameters
    ----------
    x, reference : torch.Tensor [T, hidden]
        The layer's calibration rows in the quantized and in the float model.

    Returns
    -------
    layer : dict by stage
        `QuantizedAttention` of the attention, `QuantizedLinear` of the others.
    output, reference_output : torch.Tensor [T, hidden]
    """
    layer, inputs = {}, {}

    def observe(stage, x):
        inputs[stage] = x
        return model.linears[index][stage](x)

    def calibrate(stage, x):
        x_scale = layer["attention"].o_scale if stage == "attention_output" else None
        layer[stage], y = _quantize_stage(model.linears[index][stage], x, inputs[stage], recipe, x_scale)
        return y

    def attend(qkv):
        # Results come in steps of the next linear layer's rows.
        step = activation_scale(model.attention(qkv, batch).numpy(), X_FORMAT.bits, "mse")
        layer["attention"] = calibrate_attention(qkv, model.heads, step)
        return _attend_golden(layer["attention"], qkv, batch)

    reference_output = model.layer(index, reference, batch, observe)
    output = model.layer(index, x, batch, calibrate, attend)
    return layer, output, reference_output


class QuantizedMiniLM:
    """The quantized layers of a model, made when first asked for.

    Parameters
    ----------
    model : MiniLM
    recipe : Recipe
    sentences : list of str
        Calibration text.
    folder : Path or None
        Where layers are kept; by default `cache.default_folder`.
    report : callable or None
        Called with a line of text before something that takes a while.
    """

    def __init__(self, model, recipe, sentences, *, folder=None, report=None):
        self.model = model
        self.recipe = recipe
        self.sentences = list(sentences)
        self.folder = default_folder() if folder is None else folder
        self.report = report or (lambda line: None)
        self._key = digest(model, recipe, self.sentences)
        self._layers = {}

    def _path(self, index):
        return self.folder / f"minilm-{self._key}-{index}.npz"

    def layer(self, index):
        """Stages of one layer by name: `QuantizedLinear`, and `QuantizedAttention` of the attention."""
        if index not in self._layers:
            self._layers[index] = load_layer(self._path(index)) or self._make(index)
        return self._layers[index]

    def _make(self, index):
        """Quantize up to a layer: its calibration rows come from the quantized layers before it."""
        with torch.no_grad():
            batch = self.model.tokenize(self.sentences)
            x = reference = self.model.embed(batch)
            for before in range(index):
                layer = self._layers.get(before) or load_layer(self._path(before))
                if layer is None:
                    x, reference = self._quantize(before, x, reference, batch)
                else:
                    x = self._replay(before, layer, x, batch)
                    reference = self.model.layer(before, reference, batch)
            self._quantize(index, x, reference, batch)
        return self._layers[index]

    def _replay(self, index, layer, x, batch):
        self._layers[index] = layer
        return self.model.layer(index, x, batch, lambda stage, x: _run_golden(layer[stage], x),
                                lambda qkv: _attend_golden(layer["attention"], qkv, batch))

    def _quantize(self, index, x, reference, batch):
        self.report(f"quantizing layer {index} on {len(batch.ids)} tokens: {self.recipe}")
        self._layers[index], *outputs = quantize_layer(self.model, index, x, reference, batch, self.recipe)
        save_layer(self._path(index), self._layers[index])
        return outputs
