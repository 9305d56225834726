"""A model's step over batch and context, under the roofline of the machine."""

from dataclasses import replace
from pathlib import Path

__all__ = ["BATCHES", "CONTEXTS", "scaled", "write_roofline"]

BATCHES = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = tuple(64 << octave for octave in range(7))
"""Sequences of a step at the benchmark's context; contexts, 64 to 4,096, of one sequence."""


def scaled(benchmark, config):
    """The benchmark with each batch of `BATCHES` and each context of `CONTEXTS` that a configuration holds.

    Raises
    ------
    ValueError
        If it is not one of decoding on the core.
    """
    shape = benchmark.shape
    if shape.unit != "core" or shape.prompt:
        raise ValueError(f"benchmark is {benchmark.name!r}: only decoding of a model has batches and contexts")
    context = max(shape.lengths)
    most = min(config.sequences, config.chunk_rows)
    batches = [replace(benchmark.reshaped(lengths=(context,) * batch), name=f"model-batch-{batch}")
               for batch in BATCHES if batch <= most and batch * -(-context // config.lanes) <= config.blocks]
    contexts = [replace(benchmark.reshaped(lengths=(keys,)), name=f"model-context-{keys}")
                for keys in CONTEXTS if keys <= config.max_sequence and -(-keys // config.lanes) <= config.blocks]
    return batches + contexts


def write_roofline(path, records, config):
    """Draw multiplies a cycle over multiplies a byte of both series, and tokens a second; the ending of ``path`` names
    the kind of picture."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    first = records[0]
    intensities = [record["multiplies"] / record["limit_bytes_read"] for record in records]
    ends = min(intensities) / 2, max(max(intensities) * 2, 2 * config.multipliers / config.bus_bytes)
    knee = config.multipliers / config.bus_bytes
    left.loglog([ends[0], knee, ends[1]], [ends[0] * config.bus_bytes, config.multipliers, config.multipliers], "--",
                color="#d1495b", label=f"{config.bus_bytes} bytes and {config.multipliers} multiplies a cycle")
    for series, mark, colour in (("batch", "o", "#2c6e49"), ("context", "s", "#30638e")):
        chosen = [record for record in records if record["name"].startswith(f"model-{series}-")]
        x = [record["multiplies"] / record["limit_bytes_read"] for record in chosen]
        left.loglog(x, [record["multiplies"] / record["cycles"] for record in chosen], mark, color=colour,
                    label=f"{series}, on the RTL")
        sizes = [int(record["name"].rsplit("-", 1)[1]) for record in chosen]
        right.loglog(sizes, [record["tokens_per_second_at_100_mhz"] for record in chosen], f"{mark}-", color=colour,
                     label=f"{series} (ratio {min(r['ratio'] for r in chosen):.3f} to "
                           f"{max(r['ratio'] for r in chosen):.3f})")
    left.set(xlabel="multiplies a byte that must be read", ylabel="multiplies a cycle", title="roofline")
    right.set(xlabel="sequences, or tokens of context", ylabel="tokens a second at 100 MHz (computed)",
              title=f"d {first['d_model']}, {first['layers']} layers, {first['format']}, preset {first['preset']}")
    for axes in (left, right):
        axes.grid(alpha=.3)
        axes.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
