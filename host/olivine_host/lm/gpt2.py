"""Import of GPT-2 models: from a `transformers` model, or from a local folder. Nothing is fetched."""

import json
from pathlib import Path

import numpy as np
from olivine.vector.formats import MAX_CHANNELS, Function
from olivine_golden.decoder.model import DecoderConfig
from safetensors import SafetensorError
from safetensors.numpy import load_file

from .floats import FloatLayer, FloatLinear, FloatModel, FloatNorm

__all__ = ["FUNCTIONS", "from_folder", "from_transformers", "read_tokenizer"]

FUNCTIONS = {"gelu_new": Function.GELU_TANH, "gelu": Function.GELU_ERF, "relu": Function.RELU, "silu": Function.SILU}
"""Activation functions by their names in a configuration."""

REFUSED = {"scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False, "add_cross_attention": False,
           "is_encoder_decoder": False, "pruned_heads": {}, "quantization_config": None}
"""Fields that change what is computed in a way that is not implemented, with the only value allowed."""

BUFFERS = (".attn.bias", ".attn.masked_bias")
"""Ends of names of tensors that hold no weights: causal masks of old files."""


def from_transformers(model):
    """`FloatModel` of a `GPT2LMHeadModel` or `GPT2Model`; needs torch only to read the tensors."""
    tensors = {name: tensor.detach().float().cpu().numpy() for name, tensor in model.state_dict().items()}
    return _model(model.config.to_dict(), tensors)


def from_folder(folder):
    """`FloatModel` of a folder with ``config.json`` and ``model.safetensors``.

    Raises
    ------
    ValueError
        If a file is missing or damaged, or the model has something that is not supported: the message names the
        field or the tensor.
    """
    folder = Path(folder)
    config = json.loads(_present(folder / "config.json").read_text(encoding="utf-8"))
    path = _present(folder / "model.safetensors")
    try:
        tensors = load_file(path)
    except (SafetensorError, TypeError, KeyError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return _model(config, tensors)


def read_tokenizer(folder):
    """``tokenizer.json`` of a folder, as text."""
    return _present(Path(folder) / "tokenizer.json").read_text(encoding="utf-8")


def _present(path):
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}: a model's folder holds config.json, model.safetensors "
                         "and tokenizer.json")
    return path


def _config(config):
    """`DecoderConfig` of the fields of a GPT-2 configuration."""
    if config.get("model_type", "gpt2") != "gpt2":
        raise ValueError(f"model_type is {config['model_type']!r}: must be 'gpt2'")
    for name, allowed in REFUSED.items():
        if config.get(name, allowed) not in (allowed, None):
            raise ValueError(f"{name} is {config[name]!r}: only {allowed!r} is supported")
    function = config.get("activation_function", "gelu_new")
    if function not in FUNCTIONS:
        raise ValueError(f"activation_function is {function!r}: allowed are {', '.join(map(repr, FUNCTIONS))}")
    sizes = {}
    for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"):
        value = config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}: must be an integer of 1 or more")
        sizes[name] = value
    width, heads = sizes["n_embd"], sizes["n_head"]
    if width % heads:
        raise ValueError(f"n_embd is {width}: must be a multiple of n_head, {heads}")
    if width > MAX_CHANNELS:
        raise ValueError(f"n_embd is {width}: at most {MAX_CHANNELS} channels can be normalised")
    hidden = config.get("n_inner")
    hidden = 4 * width if hidden is None else hidden
    if not isinstance(hidden, int) or hidden < 1:
        raise ValueError(f"n_inner is {hidden!r}: must be an integer of 1 or more, or null")
    eps = config.get("layer_norm_epsilon", 1e-5)
    if not (isinstance(eps, (int, float)) and 0 < eps < 1):
        raise ValueError(f"layer_norm_epsilon is {eps!r}: must be between 0 and 1")
    return DecoderConfig(layers=sizes["n_layer"], d_model=width, heads=heads, kv_heads=heads, head_dim=width // heads,
                         hidden=hidden, context=sizes["n_positions"], vocab=sizes["vocab_size"],
                         function=FUNCTIONS[function], eps=float(eps))


class _Tensors:
    """Tensors by name, each taken once and checked."""

    def __init__(self, tensors):
        self._left = {name.removeprefix("transformer."): value for name, value in tensors.items()
                      if not name.endswith(BUFFERS)}

    def take(self, name, *shape):
        value = self._left.pop(name, None)
        if value is None:
            raise ValueError(f"tensor {name} is missing")
        if value.shape != shape:
            raise ValueError(f"tensor {name} has shape {value.shape}: must be {shape}")
        value = np.ascontiguousarray(value, np.float32)
        if not np.isfinite(value).all():
            raise ValueError(f"tensor {name} has a value that is not finite")
        return value

    def norm(self, name, channels, eps):
        return FloatNorm(self.take(name + ".weight", channels), self.take(name + ".bias", channels), eps)

    def linear(self, name, k, n):
        # GPT-2's files hold the transpose of what `torch.nn.Linear` does.
        return FloatLinear(np.ascontiguousarray(self.take(name + ".weight", k, n).T), self.take(name + ".bias", n))

    def end(self):
        # Of a tied head some files hold a copy.
        self._left.pop("lm_head.weight", None)
        if self._left:
            raise ValueError(f"tensor {min(self._left)} is of no GPT-2 language model")


def _model(fields, tensors):
    config, tensors = _config(fields), _Tensors(tensors)
    shapes, width = config.linear_shapes(), config.d_model
    names = {"qkv": "attn.c_attn", "proj": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    token = tensors.take("wte.weight", config.vocab, width)
    position = tensors.take("wpe.weight", config.context, width)
    layers = []
    for index in range(config.layers):
        prefix = f"h.{index}."
        linears = {stage: tensors.linear(prefix + name, *shapes[stage]) for stage, name in names.items()}
        layers.append(FloatLayer(norm1=tensors.norm(prefix + "ln_1", width, config.eps),
                                 norm2=tensors.norm(prefix + "ln_2", width, config.eps), **linears))
    norm = tensors.norm("ln_f", width, config.eps)
    head = token
    if not fields.get("tie_word_embeddings", True):
        head = tensors.take("lm_head.weight", config.vocab, width)
    tensors.end()
    scale = config.head_dim ** -0.5 if fields.get("scale_attn_weights", True) else 1.0
    return FloatModel(config, token, position, tuple(layers), norm,
                      FloatLinear(head, np.zeros(config.vocab, np.float32)), scale)
