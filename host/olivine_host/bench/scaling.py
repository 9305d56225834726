"""Cycles of attention over the number of keys: the same job with more and more of them."""

from dataclasses import replace
from pathlib import Path

__all__ = ["KEYS", "with_keys", "write_scaling"]

KEYS = tuple(64 << octave for octave in range(8))
"""64 to 8,192 keys."""


def with_keys(benchmark):
    """The benchmark with each of `KEYS`, named after them.

    Raises
    ------
    ValueError
        If it is not one of attention.
    """
    if benchmark.shape.unit != "attention":
        raise ValueError(f"benchmark is {benchmark.name!r}: only attention has keys")
    return [replace(benchmark.reshaped(keys=keys), name=f"attention-keys-{keys}") for keys in KEYS]


def write_scaling(path, records):
    """Draw cycles of records over their keys, with the limit, and below the ratio of the two; the ending of
    ``path`` names the kind of picture."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    keys = [record["keys"] for record in records]
    first = records[0]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6), height_ratios=(3, 1),
                                             layout="constrained")
    above.loglog(keys, [record["cycles"] for record in records], "o-", color="#2c6e49", label="cycles, on the RTL")
    above.loglog(keys, [record["limit_cycles"] for record in records], "--", color="#d1495b", label="limit")
    heads = f"{first['heads']} heads" if first["heads"] > 1 else "1 head"
    above.set(ylabel="cycles", title=f"{first['tokens']} tokens, {heads}, d {first['head_dim']}, "
                                     f"{first['kv_format']}, preset {first['preset']}, {first['simulator']}")
    above.legend()
    below.semilogx(keys, [record["ratio"] for record in records], "o-", color="#2c6e49")
    below.set(ylabel="limit / cycles", ylim=(0, 1.05), xlabel="keys", xticks=keys, xticklabels=[f"{n:,}" for n in keys])
    below.minorticks_off()
    for axes in (above, below):
        axes.grid(alpha=.3)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
