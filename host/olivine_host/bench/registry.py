"""The benchmarks that have names."""

from dataclasses import dataclass, replace

from .workload import LinearShape

__all__ = ["Benchmark", "BENCHMARKS", "find"]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Parameters
    ----------
    name, what : str
    shape : LinearShape
    """

    name: str
    what: str
    shape: LinearShape

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
