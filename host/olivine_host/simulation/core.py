"""The whole core in a simulator: memory, registers and programs, one command after the other."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from itertools import count

from olivine.control.registers import BY_NAME, WINDOW_BASE, WINDOW_REGISTERS, WINDOW_STRIDE
from olivine.memory.axi import Response

from .build import build_root
from .designs import cached_design
from .memory import read_image, write_image
from .native import CORE, build
from .run import SimulationError

__all__ = ["MEMORY_BYTES", "RegisterError", "build_core", "SimulatedCore", "register_offset"]

MEMORY_BYTES = 64 << 20
"""Memory in every build, so that one build serves all models that fit."""

_serial = count()


class RegisterError(RuntimeError):
    """The core refused an access to a register."""


@dataclass(frozen=True)
class Ended:
    """How long a program took: ``cycles`` from the write that started it to the interrupt; ``hangs`` if that never
    came."""

    cycles: int
    hangs: bool


def build_core(config, simulator, memory_bytes=0, waves=False):
    """Build the core with its harness, if this was not done before; returns a `NativeBuild`."""
    memory = MEMORY_BYTES if simulator == "verilator" else 1 << 20
    memory = max(memory, 1 << max(memory_bytes - 1, 0).bit_length())
    return build(cached_design("core", config), simulator, memory // config.bus_bytes, waves, CORE)


class SimulatedCore:
    """A core in a simulator that runs as long as this object lives.

    Parameters
    ----------
    config : AcceleratorConfig
    simulator : str
        ``"verilator"`` or ``"icarus"``.
    memory_bytes : int
        At least; addresses from 0.
    trace : bool
        Record what the core does in every cycle, in `activity`.
    waves : bool
    hang_cycles : int
        Cycles without a transfer on the bus after which a program is given up as hanging.
    progress : callable or None
        Called with a program's cycles so far, now and then.
    options : dict
        ``read_latency``, ``write_latency``, ``stall`` of the memory.

    Attributes
    ----------
    activity : Path or None
        File of the trace: complete after `close`.
    """

    def __init__(self, config, simulator="verilator", *, memory_bytes=0, trace=False, waves=False, hang_cycles=150_000,
                 progress=None, **options):
        self.config, self.hang_cycles, self.progress = config, hang_cycles, progress
        made = build_core(config, simulator, memory_bytes, waves)
        self.memory_bytes = made.memory_words * config.bus_bytes
        self.folder = build_root() / "runs" / f"core-{os.getpid()}-{next(_serial)}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.activity = self.folder / "activity" if trace else None
        self.waves = self.folder / made.waves if waves else None
        command = [*made.command, *(f"+{name}={value}" for name, value in options.items()),
                   *(["+trace"] if trace else [])]
        self._process = subprocess.Popen(command, cwd=self.folder, env=made.tool.env(), text=True, bufsize=1,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._answer("reset")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """End the simulation. The folder goes, unless there is a trace or waveforms in it."""
        if self._process.poll() is None:
            try:
                self._say("q", "done")
            except (SimulationError, BrokenPipeError):
                self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        if not (self.activity or self.waves):
            shutil.rmtree(self.folder, ignore_errors=True)

    # Memory

    def write(self, *regions):
        """Write (address, bytes) regions: whole beats, apart from each other."""
        size = self.config.bus_bytes
        for address, data in regions:
            if address % size or len(data) % size:
                raise ValueError(f"{len(data)} bytes at {address:#x}: must be whole beats of {size} bytes")
            if address + len(data) > self.memory_bytes:
                raise ValueError(f"a region ends at byte {address + len(data):#x}: memory has {self.memory_bytes:#x}")
        regions = [region for region in regions if region[1]]
        if regions:
            write_image(self.folder / "load.hex", regions, size)
            self._say("l load.hex", "loaded")

    def read(self, address, size):
        """Bytes of memory."""
        beat = self.config.bus_bytes
        first, last = address // beat, (address + size - 1) // beat
        self._say(f"d dump.hex {first} {last}", "dumped")
        image = read_image(self.folder / "dump.hex", beat)
        return image[address - first * beat:][:size]

    # Registers

    def write_register(self, offset, value):
        response = Response(int(self._say(f"w {offset:x} {value:x}", "response")[0]))
        if response is not Response.OKAY:
            raise RegisterError(f"a write to the register at {offset:#x} was answered {response.name}")

    def read_register(self, offset):
        value, response = self._say(f"r {offset:x}", "value")
        if Response(int(response)) is not Response.OKAY:
            raise RegisterError(f"a read of the register at {offset:#x} was answered {Response(int(response)).name}")
        return int(value, 16)

    # Time

    def wait(self):
        """Until the interrupt is high."""
        word, cycles = self._say(f"g {self.hang_cycles}", "ended", "hang", both=True)
        return Ended(int(cycles), word == "hang")

    def run_cycles(self, cycles):
        self._say(f"c {cycles}", "passed")

    def fail_burst(self, number):
        """The ``number``-th burst read from now on ends in SLVERR, with a minus the written; 0: none."""
        self._say(f"f {number}", "set")

    def stall(self, percent):
        """Let the memory's channels rest."""
        self._say(f"s {percent}", "set")

    def mute(self):
        """The bus falls silent, or speaks again."""
        self._say("m", "set")

    def mark(self):
        """A line in the trace."""
        self._say("t", "set")

    def reset(self):
        self._say("x", "reset")

    def _say(self, command, *expected, both=False):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer(*expected, both=both)

    def _answer(self, *expected, both=False):
        log = []
        for line in self._process.stdout:
            word, *rest = line.split() or [""]
            if word in expected:
                return (word, *rest) if both else rest
            if word == "progress":
                if self.progress:
                    self.progress(int(rest[0]))
            elif word == "protocol":
                raise SimulationError(f"the core breaks the bus protocol: {' '.join(rest)} (files: {self.folder})")
            else:
                log.append(line)
        raise SimulationError(f"the simulator ended: {''.join(log[-20:])} (files: {self.folder})")


def register_offset(name, window=None):
    """Offset of a register by name; of window n's, with ``window``."""
    if window is None:
        return BY_NAME[name].offset
    return WINDOW_BASE + window * WINDOW_STRIDE + next(r.offset for r in WINDOW_REGISTERS if r.name == name)
