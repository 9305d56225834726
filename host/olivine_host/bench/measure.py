"""Runs a benchmark on simulated hardware and makes its record."""

from olivine import __version__

from .cache_measure import measure_cache, measure_operations
from .cache_operations import CacheOperations
from .model_measure import measure_model

__all__ = ["measure", "record_of"]


def measure(benchmark, backend, *, seed=0, trace=False):
    """Run a benchmark and compare its result with the golden model's.

    Parameters
    ----------
    benchmark : Benchmark
    backend : SimulatedBackend
    seed : int
        Of the random operands.
    trace : bool
        Record what the engine did in each cycle.

    Returns
    -------
    (dict, ActivityTrace or None, Path or None)
        The record, the activity and the waveforms.

    Raises
    ------
    JobFailed, SimulationError, BuildError, ToolMissing
    """
    if isinstance(benchmark.shape, CacheOperations):
        return measure_operations(benchmark, backend, seed=seed, trace=trace)
    if benchmark.shape.unit == "core":
        return measure_model(benchmark, backend, record_of, seed=seed)
    if benchmark.shape.unit == "cache":
        return measure_cache(benchmark, backend, record_of, seed=seed, trace=trace)
    job = benchmark.shape.job(backend.config, seed)
    result = backend.run(job, trace)
    exact = job.matches(result.output, result.status)
    return record_of(benchmark, backend, result.status, exact, seed), result.trace, result.waves


def record_of(benchmark, backend, status, exact, seed=0, limit=None):
    """The record of a run from its status; see docs/benchmarks.md for every field.

    ``limit`` is the `Limit` if the shape alone does not say it.
    """
    config, shape = backend.config, benchmark.shape
    limit = limit or shape.limit(config)
    cycles = status["cycles"]
    return {
        "name": benchmark.name, "preset": config.name, "simulator": backend.name, "version": __version__,
        "unit": shape.unit, **shape.as_dict(), "seed": seed,
        "cycles": cycles, "limit_cycles": limit.cycles, "ratio": round(limit.cycles / cycles, 4),
        "limited_by": limit.limited_by,
        "array_useful": round(status["array_useful"] / (cycles * config.multipliers), 4),
        "array_busy": round(status["array_busy"] / cycles, 4),
        "bytes_read": status["beats_read"] * config.bus_bytes,
        "bytes_written": status["beats_written"] * config.bus_bytes,
        "limit_bytes_read": limit.bytes_read, "limit_bytes_written": limit.bytes_written,
        "stalls": {name.removeprefix("stall_"): count for name, count in status.items()
                   if name.startswith("stall_")},
        "bit_exact": exact,
    }
