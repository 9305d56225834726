"""A quantized encoder layer: linear layers on a backend, attention, norm and GELU in float on the host."""

from dataclasses import dataclass

import numpy as np
import torch
from olivine_golden.linear import linear as golden_linear
from torch.nn.functional import cosine_similarity

from ..rows import quantize_rows
from .model import STAGES

__all__ = ["StageReport", "LayerReport", "run_layer", "run_model", "cosine"]


@dataclass(frozen=True)
class StageReport:
    """One linear layer as it ran.

    Parameters
    ----------
    layer : int
    stage : str
        A key of `STAGES`.
    m, k, n : int
    cosine : float
        To the same stage in float, mean over tokens.
    exact : bool or None
        Results and tallies equal the golden model's; None where the golden model ran itself.
    status : dict
        Fields of the job's status, as far as the backend knows them.
    seconds : float
    """

    layer: int
    stage: str
    m: int
    k: int
    n: int
    cosine: float
    exact: bool | None
    status: dict
    seconds: float


@dataclass(frozen=True)
class LayerReport:
    """One encoder layer: its stages in order, and the cosine of its output to the float layer's."""

    layer: int
    stages: list
    cosine: float


def cosine(a, b):
    """Mean over rows of the cosine between the rows of ``a`` and ``b``."""
    return float(cosine_similarity(a.double(), b.double(), dim=1).mean())


def _matches_golden(quantized, x_int, result, config):
    """Whether a simulator's results, and the tallies it reports, are the golden model's."""
    passes = -(-len(x_int) // config.chunk_rows)
    y, tallies = golden_linear(x_int, quantized.weights, quantized.y_format, passes)
    return bool(np.array_equal(result.y, y)) and all(result.status.get(name, count) == count
                                                     for name, count in tallies.items())


def run_layer(model, index, quantized, backend, x, reference_x, batch, watch=None):
    """Run one encoder layer with its linear layers on ``backend``.

    Parameters
    ----------
    model : MiniLM
    index : int
    quantized : dict of QuantizedLinear, by stage
    backend : Backend
    x, reference_x : torch.Tensor [T, hidden]
        Input of the quantized and of the float layer.
    batch : Batch
    watch : object or None
        Its ``start(layer, stage, m, k, n)`` is called before, its ``done(stage_report)`` after each
        linear layer.

    Returns
    -------
    output, reference : torch.Tensor [T, hidden]
    report : LayerReport
    """
    floats = {}

    def float_linear(stage, x):
        floats[stage] = model.linears[index][stage](x)
        return floats[stage]

    reference = model.layer(index, reference_x, batch, float_linear)
    stages = []

    def quantized_linear(stage, x):
        layer = quantized[stage]
        x_int = quantize_rows(x, layer.x_scale, layer.x_format)
        if watch is not None:
            watch.start(index, stage, *x_int.shape, len(layer.weights.bias))
        result = backend.run_linear(layer.weights, x_int, layer.x_format, layer.y_format)
        exact = None if backend.name == "golden" else _matches_golden(layer, x_int, result, backend.config)
        y = torch.from_numpy(result.y * layer.y_scale).float()
        stages.append(StageReport(index, stage, *x_int.shape, y.shape[1], cosine(y, floats[stage]), exact,
                                  result.status, result.seconds))
        if watch is not None:
            watch.done(stages[-1])
        return y

    output = model.layer(index, x, batch, quantized_linear)
    assert [stage.stage for stage in stages] == list(STAGES)
    return output, reference, LayerReport(index, stages, cosine(output, reference))


def run_model(model, layers, quantized, backend, batch, watch=None):
    """Run consecutive encoder layers, each on the quantized output of the one before.

    Parameters
    ----------
    layers : range
        Layers before the first are computed in float.
    quantized : QuantizedMiniLM
    model, backend, batch, watch
        As for `run_layer`.

    Returns
    -------
    reports : list of LayerReport
    sentences : list of float or None
        Cosine of each sentence vector to the float model's; None unless all layers ran.
    """
    with torch.no_grad():
        reference = model.embed(batch)
        for index in range(layers.start):
            reference = model.layer(index, reference, batch)
        x = reference
        reports = []
        for index in layers:
            x, reference, report = run_layer(model, index, quantized.layer(index), backend, x, reference,
                                             batch, watch)
            reports.append(report)
        if layers != range(len(model.linears)):
            return reports, None
        vectors, wanted = model.pool(x, batch), model.pool(reference, batch)
        return reports, cosine_similarity(vectors.double(), wanted.double(), dim=1).tolist()
