"""Runs jobs on a native build: memory images in, statuses, results and activity out."""

import itertools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from olivine.control.job import StatusCode

from .activity import ActivityTrace, read_activity
from .build import build_root
from .memory import FILL, Undefined, read_image, write_image
from .status import decode_status, explain

__all__ = ["Options", "JobResult", "SimulationError", "JobFailed", "run_jobs"]

_serial = itertools.count()


class SimulationError(RuntimeError):
    """The simulation did not end as it should: a hang, a broken bus protocol, a stray write."""


class JobFailed(RuntimeError):
    """The engine ended a job with a status other than OK.

    Attributes
    ----------
    status : dict
    """

    def __init__(self, status, unit="linear"):
        self.status = status
        super().__init__(f"the job ended with {status['code'].name}: {explain(status, unit)}")


@dataclass(frozen=True)
class Options:
    """What a run of the harness is told.

    Parameters
    ----------
    windows : int
        The `windows` port.
    bus_timeout : int
        Silent cycles after which the engine gives up.
    read_latency, write_latency : int
        Cycles from an address to its first beat, from a burst's last beat to its response.
    hang_cycles : int
        Cycles without a transfer on the bus after which the harness gives up.
    progress_cycles : int
        Cycles between two reports of progress.
    stall : int
        Chance in 100 by cycle that a channel of the memory rests.
    """

    windows: int
    bus_timeout: int = 100_000
    read_latency: int = 30
    write_latency: int = 30
    hang_cycles: int = 150_000
    progress_cycles: int = 2_000
    stall: int = 0

    def plusargs(self):
        return [f"+windows={self.windows:x}", f"+bus_timeout={self.bus_timeout}",
                f"+read_latency={self.read_latency}", f"+write_latency={self.write_latency}",
                f"+hang={self.hang_cycles}", f"+progress={self.progress_cycles}",
                f"+stall={self.stall}"]


@dataclass(frozen=True)
class JobResult:
    """How one job ended.

    Parameters
    ----------
    status : dict
        Fields of `olivine.control.job.JobStatus` by name.
    output : bytes
        The output region afterwards.
    cycles : int
        From the descriptor's acceptance to the status's, counted by the harness.
    start : int
        Cycle of the run in which the descriptor was accepted.
    trace : ActivityTrace or None
    waves : Path or None
        Waveforms of the whole run.
    """

    status: dict
    output: bytes
    cycles: int
    start: int = 0
    trace: ActivityTrace | None = None
    waves: Path | None = None

    def check(self, unit="linear"):
        """Raise `JobFailed` unless the job ended well; ``unit`` names the engine."""
        if self.status["code"] is not StatusCode.OK:
            raise JobFailed(self.status, unit)


class _Output:
    """The words that are read back: the job's output and, as a guard, what shares or follows its words."""

    def __init__(self, job, word_bytes, memory_words):
        self.address, self.bytes = job.output
        self.kept = getattr(job, "keeps", False)
        self.first = self.address // word_bytes
        self.last = max((self.address + self.bytes - 1) // word_bytes, self.first)
        guard = (self.last + 1) * word_bytes
        taken = any(address < guard + word_bytes and guard < address + len(data)
                    for address, data in job.regions)
        if not taken and self.last + 1 < memory_words:
            self.last += 1
        self.word_bytes = word_bytes

    def region(self):
        if self.kept:
            return self.first * self.word_bytes, b""
        words = self.last - self.first + 1
        return self.first * self.word_bytes, bytes([FILL]) * (words * self.word_bytes)

    def take(self, image):
        """The output's own bytes; the others must be as they were."""
        skip = self.address - self.first * self.word_bytes
        if self.kept:
            return image[skip:skip + self.bytes]
        beside = image[:skip] + image[skip + self.bytes:]
        if beside.strip(bytes([FILL])):
            where = next(i for i, byte in enumerate(image) if byte != FILL
                         and not skip <= i < skip + self.bytes)
            raise SimulationError(f"the engine wrote to address {self.first * self.word_bytes + where:#x}, "
                                  "outside the job's output")
        return image[skip:skip + self.bytes]


def run_jobs(build, jobs, options, word_bytes, *, trace=False, progress=None):
    """Run jobs one after the other on one simulated engine.

    Parameters
    ----------
    build : NativeBuild
    jobs : iterable
        Each with ``regions`` (list of (address, bytes)), ``descriptor`` (int), ``output`` (address,
        bytes): see `olivine_host.jobs.LinearJob`. Regions are whole bus words apart. A job with a true ``joined``
        is offered without waiting for the status of the one before. The output region of one with a true ``keeps`` is
        not cleared before, and what shares its words may change. ``fault`` n, if it has one, is the n-th burst read
        from its acceptance on that ends in SLVERR, -n the n-th burst written.
    options : Options
    word_bytes : int
        Bytes of a bus beat.
    trace : bool
        Record the activity of every job.
    progress : callable
        Called with the number of the job and its cycles so far.

    Returns
    -------
    list of JobResult

    Raises
    ------
    SimulationError
        If a job hangs, breaks the bus protocol, writes outside its output or leaves it undefined. The
        message names the folder with the run's files.
    """
    jobs = list(jobs)
    memory_bytes = build.memory_words * word_bytes
    outputs = [_Output(job, word_bytes, build.memory_words) for job in jobs]
    folder = build_root() / "runs" / f"native-{os.getpid()}-{next(_serial)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open(folder / "jobs", "w") as file:
        for number, (job, output) in enumerate(zip(jobs, outputs)):
            regions = [region for region in (*job.regions, output.region()) if region[1]]
            end = max((address + len(data) for address, data in regions), default=0)
            if end > memory_bytes:
                raise ValueError(f"job {number} ends at byte {end}: the memory has {memory_bytes}")
            write_image(folder / f"load_{number}.hex", regions, word_bytes)
            file.write(f"{job.descriptor:x} {output.first} {output.last} {int(getattr(job, 'joined', False))} "
                       f"{getattr(job, 'fault', 0)}\n")
    command = [*build.command, *options.plusargs(), *(["+trace"] if trace else [])]
    try:
        _execute(command, build.tool.env(), folder, progress)
        results = _collect(folder, outputs, trace, build.waves)
    except SimulationError as error:
        raise SimulationError(f"{error} (files of the run: {folder})") from None
    if not build.waves:
        shutil.rmtree(folder)
    return results


def _execute(command, environment, folder, progress):
    log = []
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout:
                log.append(line)
                word, *rest = line.split()[:3] or [""]
                if word == "progress" and progress:
                    progress(int(rest[0]), int(rest[1]))
        except BaseException:
            process.kill()
            raise
    (folder / "log").write_text("".join(log))
    for line in log:
        word, _, rest = line.strip().partition(" ")
        if word == "hang":
            job, cycles = rest.split()
            raise SimulationError(f"job {job} hangs: no transfer on the bus up to cycle {cycles}")
        if word == "protocol":
            raise SimulationError(f"the engine breaks the bus protocol: {rest}")
    if process.returncode or "done\n" not in log:
        raise SimulationError(f"the simulator ended with {process.returncode}: {''.join(log[-20:])}")


def _collect(folder, outputs, trace, waves):
    traces = read_activity(folder / "activity") if trace else [None] * len(outputs)
    lines = (folder / "results").read_text().splitlines()
    results = []
    for number, (line, output, activity) in enumerate(zip(lines, outputs, traces, strict=True)):
        word, cycles, start = line.split()
        try:
            status = decode_status(int(word, 16))
            image = read_image(folder / f"out_{number}.hex", output.word_bytes)
        except (Undefined, ValueError) as error:
            raise SimulationError(f"job {number} left undefined bits: {error}, status {word}") from None
        results.append(JobResult(status, output.take(image), int(cycles), int(start), activity,
                                 folder / waves if waves else None))
    return results
