"""Fine-tuning through the quantizer: weights are rounded in the forward pass, gradients go straight through.

The student starts as a quantized model, keeps its grids, and learns to give the float model's distributions: the loss
is the Kullback-Leibler divergence from them, token by token, on windows of training text. Rows stay in float.
"""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from olivine.vector.formats import Function
from olivine_golden.decoder.model import LINEARS
from torch.nn import functional

from ..quantize import dequantized
from .fake import FakeQuantizer
from .floats import FloatLayer, FloatLinear, FloatNorm
from .quantize import tensor_names

__all__ = ["FineTuning", "Tuned", "finetune"]

LOG = 20
"""Steps between two lines of the log."""

_ACTIVATIONS = {Function.GELU_TANH: lambda x: functional.gelu(x, approximate="tanh"),
                Function.GELU_ERF: functional.gelu, Function.RELU: functional.relu, Function.SILU: functional.silu}


@dataclass(frozen=True)
class FineTuning:
    """Settings: they, the text and the versions of the libraries decide the result, on one thread.

    The rate rises over ``warmup`` steps and falls by half a cosine to 0.
    """

    steps: int = 800
    batch: int = 4
    rate: float = 1e-4
    warmup: int = 40
    seed: int = 1611
    betas: tuple = (0.9, 0.95)

    def rate_at(self, step):
        """Rate of a step, the first being 0."""
        done = max(step - self.warmup, 0) / max(self.steps - self.warmup, 1)
        return self.rate * min((step + 1) / self.warmup, (1 + math.cos(math.pi * done)) / 2)


@dataclass(frozen=True)
class Tuned:
    """The model whose weights round to what was trained, the grids to round them on, and the log: one dict of step,
    seconds and mean loss (nats a token) for every few steps."""

    model: object
    grids: dict
    log: list


class _Student(torch.nn.Module):
    """A `FloatModel` in torch; ``quantizers`` by tensor, None to leave weights as they are."""

    def __init__(self, model, quantizers=None):
        super().__init__()
        self.config, self.scale = model.config, model.attention_scale
        self.quantizers = quantizers or {}
        self.parts = torch.nn.ParameterDict()
        self.tied = model.head.weight is model.token
        self._put("token", model.token)
        self._put("position", model.position)
        for name, norm in self._norms(model):
            self._put(f"{name}_gamma", norm.gamma)
            self._put(f"{name}_beta", norm.beta)
        for name in tensor_names(model.config):
            linear = self._linear_of(model, name)
            if name[1] != "head" or not self.tied:
                self._put(self._key(*name), linear.weight)
            if name[1] != "head":
                self._put(self._key(*name) + "_bias", linear.bias)

    def _put(self, name, value):
        self.parts[name] = torch.nn.Parameter(torch.from_numpy(value.copy()))

    @staticmethod
    def _key(index, stage):
        return f"{index}_{stage}"

    @staticmethod
    def _linear_of(model, name):
        return model.head if name[1] == "head" else getattr(model.layers[name[0]], name[1])

    def _norms(self, model):
        for index, layer in enumerate(model.layers):
            for stage in ("norm1", "norm2"):
                yield self._key(index, stage), getattr(layer, stage)
        yield "norm", model.norm

    def _norm(self, name, x):
        gamma, beta = self.parts[f"{name}_gamma"], self.parts[f"{name}_beta"]
        return functional.layer_norm(x, (self.config.d_model,), gamma, beta, self.config.eps)

    def _weight(self, index, stage):
        weight = self.parts["token" if stage == "head" and self.tied else self._key(index, stage)]
        quantizer = self.quantizers.get((index, stage))
        return weight if quantizer is None else quantizer(weight)

    def _linear(self, index, stage, x):
        return functional.linear(x, self._weight(index, stage), self.parts[self._key(index, stage) + "_bias"])

    def _attention(self, qkv):
        config = self.config
        rows = qkv.unflatten(2, (-1, config.head_dim)).transpose(1, 2)
        q, k, v = rows.split([config.heads, config.kv_heads, config.kv_heads], dim=1)
        k, v = (part.repeat_interleave(config.group, dim=1) for part in (k, v))
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale) \
            .transpose(1, 2).flatten(2)

    def forward(self, ids):
        config = self.config
        x = self.parts["token"][ids] + self.parts["position"][:ids.shape[1]]
        for index in range(config.layers):
            qkv = self._linear(index, "qkv", self._norm(self._key(index, "norm1"), x))
            x = x + self._linear(index, "proj", self._attention(qkv))
            y = _ACTIVATIONS[config.function](self._linear(index, "up", self._norm(self._key(index, "norm2"), x)))
            x = x + self._linear(index, "down", y)
        return functional.linear(self._norm("norm", x), self._weight(config.layers, "head"))

    def result(self, model):
        """The `FloatModel` with these weights."""
        part = {name: value.detach().numpy().copy() for name, value in self.parts.items()}

        def norm(name):
            return FloatNorm(part[f"{name}_gamma"], part[f"{name}_beta"], self.config.eps)

        layers = []
        for index in range(self.config.layers):
            linears = {stage: FloatLinear(part[self._key(index, stage)], part[self._key(index, stage) + "_bias"])
                       for stage in LINEARS}
            layers.append(FloatLayer(norm1=norm(self._key(index, "norm1")), norm2=norm(self._key(index, "norm2")),
                                     **linears))
        head = part["token" if self.tied else self._key(self.config.layers, "head")]
        return replace(model, token=part["token"], position=part["position"], layers=tuple(layers), norm=norm("norm"),
                       head=FloatLinear(head, model.head.bias))


def _started(model, start):
    """The float model with the weights and biases that quantized ones stand for. A tied head stays the token table."""
    def linear(name):
        quantized = start[name]
        weights = quantized.weights
        unit = np.ldexp(weights.mult.astype(np.float64), -weights.shift.astype(np.int64)) * quantized.y_scale
        effective = dequantized(weights, x_scale=quantized.x_scale, y_scale=quantized.y_scale)
        return FloatLinear(effective.astype(np.float32), (weights.bias * unit).astype(np.float32))

    layers = [replace(layer, **{stage: linear((index, stage)) for stage in LINEARS})
              for index, layer in enumerate(model.layers)]
    return replace(model, layers=tuple(layers))


def finetune(model, start, ids, settings=FineTuning(), advance=lambda step, loss: None):  # noqa: B008
    """Tune a model for its quantized weights.

    Parameters
    ----------
    model : FloatModel
    start : dict
        `QuantizedLinear` by tensor, as `Pipeline` keeps them.
    ids : int array [N]
        Training text, longer than a context.
    settings : FineTuning
    advance : callable
        Called after each step with its number and loss.

    Returns
    -------
    Tuned
    """
    context = model.config.context
    if len(ids) <= context:
        raise ValueError(f"the training text has {len(ids)} tokens: must be more than {context}")
    torch.manual_seed(settings.seed)
    quantizers = {name: FakeQuantizer.of(quantized) for name, quantized in start.items()}
    teacher, student = _Student(model), _Student(_started(model, start), quantizers)
    optimizer = torch.optim.AdamW(student.parameters(), lr=settings.rate, betas=settings.betas, weight_decay=0.0)
    ids, source = torch.as_tensor(np.asarray(ids)), np.random.default_rng(settings.seed)
    log, losses, began = [], [], time.monotonic()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate_at(step)
        starts = source.integers(0, len(ids) - context, settings.batch)
        windows = torch.stack([ids[start:start + context] for start in starts])
        with torch.no_grad():
            wanted = teacher(windows).log_softmax(-1).flatten(0, 1)
        loss = functional.kl_div(student(windows).log_softmax(-1).flatten(0, 1), wanted, reduction="batchmean",
                                 log_target=True)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        advance(step + 1, losses[-1])
        if (step + 1) % LOG == 0 or step + 1 == settings.steps:
            log.append({"step": step + 1, "seconds": round(time.monotonic() - began, 1),
                        "nats_per_token": round(float(np.mean(losses)), 6)})
            losses = []
    return Tuned(student.result(model), {name: quantizer.grid for name, quantizer in quantizers.items()}, log)
