"""Runs a benchmark on simulated hardware and makes its record."""

import numpy as np
from olivine import __version__

from .limits import linear_limit
from .workload import FORMATS, GROUPS, ROW_FORMATS, random_linear

__all__ = ["measure", "limit_of", "record_of"]


def limit_of(shape, config):
    """The `Limit` of a `LinearShape` on a configuration."""
    return linear_limit(config, shape.m, shape.k, shape.n, FORMATS[shape.format], GROUPS[shape.group],
                        ROW_FORMATS[shape.x_format], ROW_FORMATS[shape.y_format])


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
    from olivine_golden.linear import linear

    from ..jobs import LinearJob

    shape, config = benchmark.shape, backend.config
    weights, x = random_linear(shape, seed)
    job = LinearJob(config, weights, x, ROW_FORMATS[shape.x_format], ROW_FORMATS[shape.y_format])
    result = backend.run(job, trace)
    expected, tallies = linear(x, weights, job.y_format, job.passes)
    exact = bool(np.array_equal(job.unpack(result.output), expected)
                 and all(result.status[name] == count for name, count in tallies.items()))
    return record_of(benchmark, backend, result.status, exact, seed), result.trace, result.waves


def record_of(benchmark, backend, status, exact, seed=0):
    """The record of a run from its status; see docs/benchmarks.md for every field."""
    config, shape = backend.config, benchmark.shape
    limit = limit_of(shape, config)
    cycles = status["cycles"]
    return {
        "name": benchmark.name, "preset": config.name, "simulator": backend.name, "version": __version__,
        **shape.as_dict(), "seed": seed,
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
