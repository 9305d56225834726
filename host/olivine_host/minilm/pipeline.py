"""A quantized encoder layer: linear layers and attention on a backend, norm and GELU in float on the host."""

from dataclasses import dataclass

import numpy as np
import torch
from olivine_golden.linear import linear as golden_linear
from torch.nn.functional import cosine_similarity

from ..attention_jobs import AttentionJob, same_outputs
from ..rows import quantize_rows
from .attention import OPTIONS, attention_groups, context_of
from .model import STAGES

__all__ = ["StageReport", "LayerReport", "stage_macs", "run_layer", "run_model", "cosine"]


@dataclass(frozen=True)
class StageReport:
    """One linear layer, or the attention, as it ran.

    Parameters
    ----------
    layer : int
    stage : str
        A key of `STAGES`.
    shape : str
        Rows, reduction and output channels; of the attention tokens, heads and head dimension.
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
    shape: str
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


def _attention_matches_golden(job, result):
    outputs, tallies = job.golden()
    return same_outputs(result.outputs, outputs) and all(result.status.get(name, count) == count
                                                         for name, count in tallies.items())


def stage_macs(model, index, stage, batch):
    """Multiplies of a stage: of the attention, twice (scores and values) those of every pair of tokens."""
    if stage == "attention":
        hidden = model.linears[index]["attention_output"].weight.shape[1]
        return 2 * hidden * sum(length * length for length in batch.lengths)
    return len(batch.ids) * model.linears[index][stage].weight.numel()


def run_layer(model, index, quantized, backend, x, reference_x, batch, watch=None):
    """Run one encoder layer with its linear layers and its attention on ``backend``.

    Parameters
    ----------
    model : MiniLM
    index : int
    quantized : dict by stage
        As `quantize_layer` makes it.
    backend : Backend
    x, reference_x : torch.Tensor [T, hidden]
        Input of the quantized and of the float layer.
    batch : Batch
    watch : object or None
        Its ``start(layer, stage, macs)`` is called before, its ``done(stage_report)`` after each stage.

    Returns
    -------
    output, reference : torch.Tensor [T, hidden]
    report : LayerReport
    """
    floats = {}

    def float_linear(stage, x):
        floats[stage] = model.linears[index][stage](x)
        return floats[stage]

    def float_attend(qkv):
        floats["attention"] = model.attention(qkv, batch)
        return floats["attention"]

    reference = model.layer(index, reference_x, batch, float_linear, float_attend)
    stages = []

    def start(stage):
        if watch is not None:
            watch.start(index, stage, stage_macs(model, index, stage, batch))

    def done(stage, shape, y, exact, result):
        stages.append(StageReport(index, stage, "x".join(map(str, shape)), cosine(y, floats[stage]), exact,
                                  result.status, result.seconds))
        if watch is not None:
            watch.done(stages[-1])
        return y

    def quantized_attend(qkv):
        layer = quantized["attention"]
        groups = attention_groups(layer, qkv, batch)
        start("attention")
        result = backend.run_attention(groups, **OPTIONS)
        exact = None
        if backend.name != "golden":
            exact = _attention_matches_golden(AttentionJob(backend.config, groups, **OPTIONS), result)
        return done("attention", (len(qkv), model.heads, groups[0].q.shape[1]),
                    context_of(layer, result.outputs), exact, result)

    def quantized_linear(stage, x):
        layer = quantized[stage]
        x_int = quantize_rows(x, layer.x_scale, layer.x_format)
        start(stage)
        result = backend.run_linear(layer.weights, x_int, layer.x_format, layer.y_format)
        exact = None if backend.name == "golden" else _matches_golden(layer, x_int, result, backend.config)
        y = torch.from_numpy(result.y * layer.y_scale).float()
        return done(stage, (*x_int.shape, y.shape[1]), y, exact, result)

    output = model.layer(index, x, batch, quantized_linear, quantized_attend)
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
