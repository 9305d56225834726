"""Mixed formats: which tensors of a model are worth 8 bits, within a budget of bits."""

from dataclasses import replace

import numpy as np
from olivine.linear.descriptor import RowFormat
from olivine_golden.decoder.forward import Decoder

from ..quantize import quantize_linear
from .quantize import LANES, Pipeline, tensor_names
from .recipe import LMRecipe

__all__ = ["choose_formats", "within_budget"]

_WINDOWS = 8
"""Windows of the calibration text on which losses are measured."""


def within_budget(losses, sizes, bits):
    """Greedy choice: tensors that keep 8 bits, those first whose bits save most loss.

    Parameters
    ----------
    losses : dict
        By tensor, what it costs if it alone has 4 bits.
    sizes : dict
        Weights of each.
    bits : float
        Mean bits of a weight, at most.

    Returns
    -------
    set
        Of tensors; a tensor that gains nothing from 8 bits is never among them.
    """
    # Weights, whole ones: a budget that just fits must not fail by a rounding.
    left = round((bits - 4) / 4 * sum(sizes.values()), 3)
    chosen = set()
    for name in sorted(losses, key=lambda name: -losses[name] / sizes[name]):
        if losses[name] > 0 and sizes[name] <= left:
            chosen.add(name)
            left -= sizes[name]
    return chosen


def choose_formats(model, ids, recipe, report=None):
    """Formats by tensor for `quantize`, of a "mixed" recipe.

    Each tensor alone is rounded to ovp4 in a model that is int8 elsewhere. What that costs on calibration text is the
    Kullback-Leibler divergence from the int8 model's distributions: the loss that it is expected to add, without the
    noise of which tokens the text happens to have. Then `within_budget` chooses.

    Parameters
    ----------
    model, ids, recipe, report
        As of `quantize`.
    """
    report = report or (lambda line: None)
    names = tensor_names(model.config)
    formats = {name: recipe.head if name[1] == "head" else "int8" for name in names}
    pipeline = Pipeline(model, ids, LMRecipe("int8"), formats=formats, report=report)
    whole = pipeline.run()
    keep = np.linspace(0, len(ids) - 1, min(_WINDOWS, len(ids))).astype(int)

    def distributions(decoder):
        logits = Decoder(decoder, LANES).forward(ids[keep]) * decoder.logits_scale
        logits -= logits.max(-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    wanted, losses, sizes = distributions(whole.decoder), {}, {}
    for index, stage in names[:-1]:
        layer = whole.decoder.layers[index]
        float_layer = getattr(model.layers[index], stage)
        changed = replace(layer, **{stage: _rounded(pipeline.linears[index, stage], float_layer, recipe)})
        layers = [*whole.decoder.layers[:index], changed, *whole.decoder.layers[index + 1:]]
        found = distributions(replace(whole.decoder, layers=layers))
        losses[index, stage] = float((np.exp(wanted) * (wanted - found)).sum(-1).mean())
        sizes[index, stage] = float_layer.weight.size
        report(f"layer {index} {stage}: ovp4 costs {losses[index, stage]:.5f} nats a token")
    chosen = within_budget(losses, sizes, recipe.bits)
    return formats | {name: "int8" if name in chosen else "ovp4" for name in losses}


def _rounded(quantized, layer, recipe):
    """Weights in ovp4, with the scales of rows and results of an int8 `QuantizedLinear`."""
    return quantize_linear(layer.weight, layer.bias, x_scale=quantized.x_scale, y_scale=quantized.y_scale,
                           y_format=RowFormat.INT16, **recipe.options("ovp4") | {"method": "nearest"}).weights
