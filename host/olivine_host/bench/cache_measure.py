"""Runs the script of a cache benchmark on simulated hardware and makes its record."""

import numpy as np
from olivine import __version__
from olivine.control.job import StatusCode

from ..simulation.activity import ActivityTrace
from ..simulation.run import SimulationError

__all__ = ["measure_cache", "measure_operations", "differences", "together"]


def measure_cache(benchmark, backend, record_of, *, seed=0, trace=False):
    """As `olivine_host.bench.measure.measure`, of a script.

    ``cycles`` are those from the acceptance of the first measured job by an idle core to the status of the last,
    the counters the sums over the measured jobs. If the script says how long the last job takes alone, the record
    has ``added_cycles``, what the others add to that.
    """
    script = benchmark.shape.script(backend.config, seed)
    results, wrong = _run(script, backend, trace)
    first, last = results[script.measured[0]], results[script.measured[-1]]
    chosen = [results[number] for number in script.measured]
    status = {name: sum(result.status.get(name, 0) for result in chosen) for name in last.status
              if name not in ("code", "detail", "address")}
    status["cycles"] = last.start + last.cycles - first.start
    record = record_of(benchmark, backend, status, not wrong, seed, script.limit)
    if script.alone is not None:
        record["added_cycles"] = status["cycles"] - results[script.alone].cycles
    return record | _differs(wrong), together(chosen) if trace else None, last.waves


def measure_operations(benchmark, backend, *, seed=0, trace=False):
    """The same of `CacheOperations`: ``operations`` are the cycles of each by blocks, ``per_block`` how many each
    further block takes, from the fewest blocks to the most. The trace is that of the last operation."""
    shape = benchmark.shape
    script = shape.script(backend.config, seed)
    results, wrong = _run(script, backend, trace)
    cycles = {name: {str(blocks): results[numbers[name]].status["cycles"]
                     for blocks, numbers in script.operations.items()}
              for name in next(iter(script.operations.values()))}
    low, high = min(shape.blocks), max(shape.blocks)
    record = {"name": benchmark.name, "preset": backend.config.name, "simulator": backend.name,
              "version": __version__, "unit": shape.unit, **shape.as_dict(), "seed": seed,
              "block_bytes": script.memory.block_bytes, "operations": cycles}
    if high > low:
        record["per_block"] = {name: round((by[str(high)] - by[str(low)]) / (high - low), 1)
                               for name, by in cycles.items()}
    last = results[max(script.operations[high].values())]
    return record | {"bit_exact": not wrong} | _differs(wrong), last.trace, last.waves


def _differs(wrong):
    return {"differs": wrong} if wrong else {}


def _run(script, backend, trace):
    """Results of the script's jobs, and what differs from golden."""
    jobs = [*script.jobs, script.dump()]
    progress = None
    if backend.progress:
        def progress(number, _):
            backend.progress(min(number / len(jobs), .99))

    *results, dump = backend.engine("attention").run_jobs(jobs, trace, progress)
    if backend.progress:
        backend.progress(1.0)
    wrong = differences(script, results)
    if dump.output != script.kept():
        at = next(place for place, (a, b) in enumerate(zip(dump.output, script.kept())) if a != b)
        wrong.append(f"memory, first at {script.memory.pool[0] + at:#x}")
    return results, wrong


def differences(script, results):
    """The jobs whose results are not golden's, in words.

    Raises
    ------
    SimulationError
        If a job did not end well: what follows it then means nothing.
    """
    wrong = []
    for number, (job, result) in enumerate(zip(script.jobs, results, strict=True)):
        status, where = result.status, f"job {number} ({job.what})"
        if status["code"] is not StatusCode.OK:
            raise SimulationError(f"{where} ended with {status['code'].name}, detail {status['detail']}, address "
                                  f"{status['address']:#x}: golden says OK")
        if not job.agrees(result):
            wrong.append(where)
    return wrong


def together(results):
    """One `ActivityTrace` of jobs in a row, from the acceptance of the first to the end of the last.

    The log of a job counts from the acceptance of the first job that had not ended when this one was accepted, and
    begins with its own acceptance.
    """
    starts, values, base = [], [], results[0].start
    for before, result in zip([None, *results], results):
        if before and result.start > before.start + before.cycles:
            base = result.start
        starts.append(result.trace.starts + base - results[0].start)
        values.append(result.trace.values)
    for index, later in enumerate(starts[1:]):
        kept = starts[index] < later[0]
        starts[index], values[index] = starts[index][kept], values[index][kept]
    last = results[-1]
    return ActivityTrace(np.concatenate(starts), np.concatenate(values), last.start + last.cycles - results[0].start)
