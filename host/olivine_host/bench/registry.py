"""The benchmarks that have names."""

from dataclasses import dataclass, fields, replace

from .attention_workload import AttentionShape
from .cache_operations import CacheOperations
from .cache_workload import AppendDecode, CacheShape, ForkedDecode, HitterDecode, HitterPrefill, MixedDecode
from .model_workload import ModelShape
from .workload import LinearShape

__all__ = ["Benchmark", "BENCHMARKS", "find"]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Parameters
    ----------
    name, what : str
    shape : LinearShape, AttentionShape, CacheShape or ModelShape
    """

    name: str
    what: str
    shape: LinearShape | AttentionShape | CacheShape | ModelShape

    @property
    def parameters(self):
        """Names that `reshaped` knows."""
        return [field.name for field in fields(self.shape)]

    @property
    def engine(self):
        """Name of the unit that runs it."""
        return "attention" if self.shape.unit == "cache" else self.shape.unit

    def reshaped(self, **changes):
        """The same with another shape; changes that are None are none."""
        return replace(self, shape=replace(self.shape, **{name: value for name, value in changes.items()
                                                          if value is not None}))


_ALL = (
    Benchmark("linear-decode", "a linear layer for one token, 4-bit weights in groups",
              LinearShape(1, 1024, 1024)),
    Benchmark("linear-decode-int8", "the same with int8 weights, scaled per channel",
              LinearShape(1, 1024, 1024, format="int8", group="channel")),
    Benchmark("linear-prefill", "a linear layer for 256 tokens, 4-bit weights in groups",
              LinearShape(256, 1024, 1024)),
    *(Benchmark(f"attention-prefill-full-{keys}", f"attention of a prompt of {keys} tokens, no mask",
                AttentionShape(keys, keys)) for keys in (256, 512, 1024)),
    Benchmark("attention-prefill-causal-512", "attention of a prompt of 512 tokens, causal",
              AttentionShape(512, 512, causal=True)),
    *(Benchmark(f"attention-decode-{keys}", f"attention of one token to {keys} keys", AttentionShape(1, keys))
      for keys in (256, 1024, 4096)),
    *(Benchmark(f"attention-decode-{keys}-ovp4", "the same with 4-bit keys and values",
                AttentionShape(1, keys, kv_format="ovp4_int")) for keys in (256, 1024, 4096)),
    Benchmark("attention-decode-gqa-1024-ovp4", "attention of one token to 1024 keys, 8 query heads to a KV head",
              AttentionShape(1, 1024, heads=32, kv_heads=4, kv_format="ovp4_int")),
    Benchmark("attention-decode-1024-h2o", "one token of a heavy-hitter sequence that drops a key for it",
              HitterDecode()),
    Benchmark("attention-decode-1024-h2o-ovp4", "the same with 4-bit keys and values",
              HitterDecode(kv_format="ovp4_int")),
    Benchmark("attention-prefill-full-512-h2o", "attention and sums of a prompt in cells, no mask", HitterPrefill()),
    Benchmark("attention-decode-mixed", "attention of sequences of different lengths in one job", MixedDecode()),
    Benchmark("attention-decode-forked", "attention of sequences that share a prefix", ForkedDecode()),
    Benchmark("append-decode", "keys and values of a token stored while it attends", AppendDecode()),
    Benchmark("cache-operations", "operations on the key-value cache", CacheOperations()),
    Benchmark("model-decode", "a token of a small model, from embedding to logits", ModelShape()),
    Benchmark("model-decode-768", "a token of two layers of GPT-2 small's shape",
              ModelShape(768, 2, 12, 3072, lengths=(1024,), head=False)),
    Benchmark("model-decode-batch", "a token of each of eight sequences",
              ModelShape(lengths=tuple(range(32, 257, 32)))),
    Benchmark("model-prefill-768", "a prompt through a layer of GPT-2 small's shape",
              ModelShape(768, 1, 12, 3072, lengths=(256,), prompt=True, embeds=False, head=False)),
)

BENCHMARKS = {benchmark.name: benchmark for benchmark in _ALL}


def find(names):
    """The benchmarks of these names, all if there are none.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise ValueError(f"benchmark is {name!r}: allowed are {', '.join(BENCHMARKS)}")
    return [BENCHMARKS[name] for name in names or BENCHMARKS]
