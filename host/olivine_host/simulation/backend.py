"""Jobs on the generated Verilog, in a simulator."""

import time

from amaranth.lib import data
from olivine.control.job import Window

from ..attention_jobs import AttentionJob
from ..backends import AttentionResult, LinearResult
from ..jobs import LinearJob
from .core import build_core
from .designs import cached_design
from .native import build
from .run import Options, run_jobs

__all__ = ["Simulator", "SimulatedBackend", "one_window"]

VERILATOR_MEMORY = 64 << 20
"""Bytes of the memory in every Verilator build, so that one build serves all jobs that fit."""

ICARUS_MEMORY = 64 << 10
"""Smallest memory of an Icarus build, bytes: Icarus builds in no time, and its memories are large."""


def one_window(config, last):
    """The `windows` port's value that opens addresses 0 to ``last`` for reading and writing."""
    layout = data.ArrayLayout(Window(config.addr_width), config.windows)
    # A closed window may neither be read nor written.
    window = {"first": 0, "last": last, "readable": 1, "writable": 1}
    return layout.const([window] + [{}] * (config.windows - 1)).as_value().value


class Simulator:
    """An engine in a simulator, with a memory of its own.

    Parameters
    ----------
    config : AcceleratorConfig
    made : olivine.verilog.Design
        The engine, with the ports of `olivine.linear.core.LinearCore`.
    simulator : str
        ``"verilator"`` or ``"icarus"``.
    waves : bool
        Record waveforms of every run.
    options : dict
        Fields of `Options` that differ from the default.
    """

    def __init__(self, config, made, simulator, *, waves=False, **options):
        self.config = config
        self.design = made
        self.simulator = simulator
        self.waves = waves
        self.options = options

    def build(self, memory_bytes=0):
        """Build, if this was not done before, with room for ``memory_bytes``; returns a `NativeBuild`."""
        memory = VERILATOR_MEMORY if self.simulator == "verilator" else ICARUS_MEMORY
        memory = min(max(memory, 1 << (memory_bytes - 1).bit_length() if memory_bytes else 0),
                     1 << self.config.addr_width)
        return build(self.design, self.simulator, memory // self.config.bus_bytes, self.waves)

    def run_jobs(self, jobs, trace=False, progress=None):
        """Run jobs one after the other from a memory that is loaded before each.

        Parameters
        ----------
        jobs : list
            Each with ``regions``, ``descriptor``, ``output`` and ``memory_bytes``.
        trace : bool
            Record what the engine did in each cycle.
        progress : callable
            Called with the number of the job and its cycles so far.

        Returns
        -------
        list of JobResult

        Raises
        ------
        SimulationError, BuildError, ToolMissing
        """
        jobs = list(jobs)
        made = self.build(max((job.memory_bytes for job in jobs), default=0))
        options = {"windows": one_window(self.config, made.memory_words * self.config.bus_bytes - 1),
                   **self.options}
        return run_jobs(made, jobs, Options(**options), self.config.bus_bytes, trace=trace, progress=progress)


class SimulatedBackend:
    """The engines' Verilog in a simulator, each built when a job needs it.

    Parameters
    ----------
    name : str
        The simulator, ``"verilator"`` or ``"icarus"``.
    config : AcceleratorConfig
    waves : bool
        Record waveforms; `last_waves` is the file of the latest job.
    progress : callable or None
        Called now and then with the fraction of the present job that is done, 0.0 to 1.0.

    Attributes
    ----------
    options : dict
        Fields of `Options` that differ from the default, for engines that no job has needed yet.
    """

    def __init__(self, name, config, *, waves=False, progress=None):
        self.name = name
        self.config = config
        self.waves = waves
        self.progress = progress
        self.options = {}
        self.last_waves = None
        self._engines = {}

    def engine(self, unit):
        """The `Simulator` of an engine, by its name in `olivine.units`."""
        if unit not in self._engines:
            self._engines[unit] = Simulator(self.config, cached_design(unit, self.config), self.name,
                                            waves=self.waves, **self.options)
        return self._engines[unit]

    def build(self, units=("linear",)):
        """Build engines, if this was not done before."""
        for unit in units:
            if unit == "core":
                build_core(self.config, self.name)
            else:
                self.engine(unit).build()

    def run(self, job, trace=False):
        """Run one `LinearJob`, `AttentionJob` or `MergeJob`; returns its `JobResult`.

        Raises
        ------
        JobFailed
            If the engine ended it with a status other than OK.
        SimulationError, BuildError, ToolMissing
        """
        progress = None
        if self.progress:
            expected = job.limit().cycles

            def progress(_, cycles):
                # The limit is what no engine can beat, so the last cycles are shown as 99 %.
                self.progress(min(cycles / expected, .99))

        result, = self.engine(job.unit).run_jobs([job], trace, progress)
        result.check(job.unit)
        self.last_waves = result.waves
        if self.progress:
            self.progress(1.0)
        return result

    def run_linear(self, weights, x_int, x_format, y_format):
        """Run ``x_int`` [M, K] through `LinearWeights`; returns a `LinearResult`."""
        start = time.perf_counter()
        job = LinearJob(self.config, weights, x_int, x_format, y_format)
        result = self.run(job)
        return LinearResult(job.unpack(result.output), result.status, time.perf_counter() - start)

    def run_attention(self, groups, **options):
        """Let groups attend, with the options of `AttentionJob`; returns an `AttentionResult`."""
        start = time.perf_counter()
        job = AttentionJob(self.config, groups, **options)
        result = self.run(job)
        return AttentionResult(job.unpack(result.output), result.status, time.perf_counter() - start)
