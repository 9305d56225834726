"""MiniLM's linear layers, quantized on calibration text: static scales, weights as the recipe says."""

import torch
from olivine.linear.descriptor import RowFormat
from olivine_golden.linear import linear

from ..quantize import activation_scale, quantize_linear
from ..recipe import FORMATS, GROUPS
from ..rows import quantize_rows, symmetric_scale
from .cache import default_folder, digest, load_layer, save_layer

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


def _quantize_stage(layer, x, recipe):
    """Quantize one float `Linear`, calibrated on the rows ``x`` [tokens, K] that reach it."""
    hessian = None
    if recipe.method == "gptq":
        rows = x.double()
        hessian = (rows.T @ rows / len(rows)).numpy()
    return quantize_linear(
        layer.weight.numpy(), layer.bias.numpy(),
        x_scale=activation_scale(x.numpy(), X_FORMAT.bits, "mse"),
        y_scale=symmetric_scale(layer(x).abs().max() * Y_HEADROOM, Y_FORMAT),
        x_format=X_FORMAT, y_format=Y_FORMAT, format=FORMATS[recipe.format], group=GROUPS[recipe.group],
        method=recipe.method, hessian=hessian)


def quantize_layer(model, index, x, batch, recipe):
    """Quantize one encoder layer, each stage calibrated on what the quantized ones before it give.

    Returns
    -------
    layer : dict of QuantizedLinear, by stage
    output : torch.Tensor [T, hidden]
        The quantized layer's output on the calibration rows ``x``.
    """
    layer = {}

    def calibrate(stage, x):
        layer[stage] = _quantize_stage(model.linears[index][stage], x, recipe)
        return _run_golden(layer[stage], x)

    return layer, model.layer(index, x, batch, calibrate)


class QuantizedMiniLM:
    """The quantized linear layers of a model, made when first asked for.

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
        """Stages of one layer by name: `QuantizedLinear`."""
        if index not in self._layers:
            self._layers[index] = load_layer(self._path(index)) or self._make(index)
        return self._layers[index]

    def _make(self, index):
        """Quantize up to a layer: its calibration rows come from the quantized layers before it."""
        with torch.no_grad():
            batch = self.model.tokenize(self.sentences)
            x = self.model.embed(batch)
            for before in range(index):
                layer = self._layers.get(before) or load_layer(self._path(before))
                x = self._replay(before, layer, x, batch) if layer else self._quantize(before, x, batch)
            self._quantize(index, x, batch)
        return self._layers[index]

    def _replay(self, index, layer, x, batch):
        self._layers[index] = layer
        return self.model.layer(index, x, batch, lambda stage, x: _run_golden(layer[stage], x))

    def _quantize(self, index, x, batch):
        self.report(f"quantizing layer {index} on {len(batch.ids)} tokens: {self.recipe}")
        self._layers[index], output = quantize_layer(self.model, index, x, batch, self.recipe)
        save_layer(self._path(index), self._layers[index])
        return output
