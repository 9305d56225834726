"""Runs a step of a language model on the simulated core and makes its record."""

import time

from olivine.control.job import TALLIES, StatusCode
from olivine.control.registers import PROGRAM_COUNTERS

from ..device.engines import CoreEngine
from ..simulation.run import SimulationError

__all__ = ["CLOCK_HZ", "measure_model"]

CLOCK_HZ = 100_000_000
"""Clock for which a record says tokens a second."""


class _Runner(CoreEngine):
    """A core that runs the programs of a script."""

    def __init__(self, script, name, **options):
        self.script = script
        self._open(script.config, script.model, name, **options)

    def run_script(self, advance):
        """(counters of the measured program, its tallies)"""
        def start(address, length):
            self.start(address, length)
            code = StatusCode(self.read("FAULT") & 0xff)
            if code is not StatusCode.OK:
                raise SimulationError(f"the program ended with {code.name} at instruction {self.read('FAULT_INDEX')}")
            return ({name: self.read_pair(name.upper()) for name in PROGRAM_COUNTERS},
                    {name: self.read(name.upper()) for name in TALLIES})

        return self.script.run(self.core.write, start, advance)


def measure_model(benchmark, backend, record_of, *, seed=0):
    """As `olivine_host.bench.measure.measure`, of a program of the core: from the fetch of its first instruction to the
    last write response. No trace: `olivine run --trace` has one."""
    script = benchmark.shape.script(backend.config, seed)
    runner = _Runner(script, backend.name)
    try:
        began = time.perf_counter()
        counters, tallies = runner.run_script(lambda done: backend.progress and backend.progress(min(done, .99)))
        seconds = time.perf_counter() - began
        cycles = runner.cycles
        results = [runner.core.read(address, size) for address, size in script.results]
    finally:
        runner.close()
    wanted, wanted_tallies = script.golden()
    if backend.progress:
        backend.progress(1.0)
    exact = results == wanted and tallies == wanted_tallies
    record = record_of(benchmark, backend, counters, exact, seed, script.limit)
    tokens = benchmark.shape.tokens
    record |= {"tokens": tokens, "instructions": len(script.measured), "multiplies": script.limit.multiplies,
               "tokens_per_second_at_100_mhz": round(tokens * CLOCK_HZ / counters["cycles"], 1),
               "simulated_cycles_per_second": round(cycles / seconds)}
    return record, None, None
