"""Where jobs run: the golden model, or the generated Verilog in a simulator."""

import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

__all__ = ["BACKENDS", "SIMULATORS", "LinearResult", "AttentionResult", "Backend", "GoldenBackend", "get_backend"]

SIMULATORS = ("verilator", "icarus")
BACKENDS = ("golden", *SIMULATORS)


@dataclass(frozen=True)
class LinearResult:
    """What one linear job gave.

    Parameters
    ----------
    y : int64 [M, N]
    status : dict
        Fields of `olivine.control.job.JobStatus` by name. The golden model knows the tallies only;
        simulators also give the code and the counters.
    seconds : float
        Wall-clock time that the job took.
    """

    y: np.ndarray
    status: dict = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class AttentionResult:
    """What one attention job gave.

    Parameters
    ----------
    outputs : list of olivine_host.attention_jobs.GroupOutput
        By group.
    status, seconds
        As of `LinearResult`.
    """

    outputs: list
    status: dict = field(default_factory=dict)
    seconds: float = 0.0


class Backend(Protocol):
    """What runs jobs for a configuration.

    Attributes
    ----------
    name : str
    config : AcceleratorConfig
    """

    name: str

    def run_linear(self, weights, x_int, x_format, y_format):
        """Run ``x_int`` [M, K] through `LinearWeights`; returns a `LinearResult`."""

    def run_attention(self, groups, **options):
        """Let groups attend, with the options of `olivine_host.attention_jobs.AttentionJob`; returns an
        `AttentionResult`."""


class GoldenBackend:
    """The golden integer model: the same bits as the hardware, and no cycles."""

    name = "golden"

    def __init__(self, config):
        self.config = config

    def run_linear(self, weights, x_int, x_format, y_format):
        from olivine_golden.linear import linear
        start = time.perf_counter()
        passes = -(-len(x_int) // self.config.chunk_rows)
        y, tallies = linear(x_int, weights, y_format, passes)
        return LinearResult(y, tallies, time.perf_counter() - start)

    def run_attention(self, groups, **options):
        from .attention_jobs import AttentionJob
        start = time.perf_counter()
        outputs, tallies = AttentionJob(self.config, groups, **options).golden()
        return AttentionResult(outputs, tallies, time.perf_counter() - start)


def get_backend(name, config, *, waves=False, progress=None):
    """The backend called ``name`` for a configuration.

    Parameters
    ----------
    name : str
        One of `BACKENDS`.
    config : AcceleratorConfig
    waves : bool
        Write waveforms, where there are any.
    progress : callable or None
        Called now and then by simulators with a job's progress: fraction done, 0.0 to 1.0.

    Raises
    ------
    ValueError
        If the name is unknown, or waveforms are wanted of the golden model.
    """
    if name == "golden":
        if waves:
            raise ValueError("the golden model has no waveforms: choose a simulator, "
                             f"{' or '.join(SIMULATORS)}")
        return GoldenBackend(config)
    if name not in SIMULATORS:
        raise ValueError(f"backend is {name!r}: allowed are {', '.join(map(repr, BACKENDS))}")
    # The simulators' Python side takes a while to import.
    from .simulation.backend import SimulatedBackend
    return SimulatedBackend(name, config, waves=waves, progress=progress)
