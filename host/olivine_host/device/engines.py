"""What computes a step: the golden integer model, or the core in a simulator. Both give the same bits."""

from dataclasses import dataclass, field

import numpy as np
from olivine.control.job import StatusCode
from olivine.control.registers import BY_NAME, PROGRAM_COUNTERS
from olivine.kvcache.descriptor import CacheOp
from olivine.vector.descriptor import NO_INDEX
from olivine_golden.decoder.forward import Decoder
from olivine_golden.vector.largest import largest

from ..board.serial_core import PREFIX, SerialCore
from ..compiler.model import CompiledModel
from ..compiler.program import Program
from ..compiler.step import StepCompiler
from ..isa.faults import explain
from ..simulation.core import SimulatedCore, register_offset
from .sampling import LARGEST, Logits

__all__ = ["ENGINES", "ProgramFailed", "StepCost", "GoldenEngine", "CoreEngine", "make_core",
           "make_engine"]

START, CLEAR_INTERRUPT = (1 << field.low for field in BY_NAME["CONTROL"].fields if field.name != "abort")

BUS_TIMEOUT = 100_000
"""Silent cycles of the bus after which an instruction is given up."""


class ProgramFailed(RuntimeError):
    """A program ended with a fault, was given up or hangs."""


@dataclass(frozen=True)
class StepCost:
    """What a step cost.

    Parameters
    ----------
    cycles : int
        From the first instruction's fetch to the last write response; 0 where nobody counts.
    counters : dict
        See `olivine.control.registers.PROGRAM_COUNTERS`.
    """

    cycles: int = 0
    counters: dict = field(default_factory=dict)


class GoldenEngine:
    """The integer model, as fast as numpy makes it.

    Parameters
    ----------
    config : AcceleratorConfig
    decoder : QuantizedDecoder
    """

    name = "golden"

    def __init__(self, config, decoder, **_):
        self.config = config
        self._decoder = Decoder(decoder, config.lanes)
        self._sequences = {}
        self._next = 0
        self.blocks = None

    def open(self, policy):
        """A handle of a new sequence."""
        handle = self._next, 0
        self._next += 1
        self._sequences[handle] = self._decoder.open(1, policy)
        return handle

    def close_sequence(self, handle):
        del self._sequences[handle]

    def step(self, parts, wants_largest=False):
        """Append the parts' tokens; returns `Logits` after each part's last token (None where not wanted), and the
        `StepCost`."""
        made = self._decoder.step([(self._sequences[part.handle], np.array([part.tokens])) for part in parts])
        found = []
        for part, logits in zip(parts, made):
            last = logits[0, -1]
            if wants_largest:
                values, indices = largest(last[None], LARGEST)
                last = Logits(values[0], indices[0])
            else:
                last = Logits(last)
            found.append(last if part.logits else None)
        return found, StepCost()

    def close(self):
        pass


def make_core(name, config, **options):
    """The core of a backend's name."""
    if name.startswith(PREFIX):
        return SerialCore(name.removeprefix(PREFIX), config, **options)
    return SimulatedCore(config, name, **options)


class CoreEngine:
    """The core: its Verilog in a simulator, or a board.

    Parameters
    ----------
    config : AcceleratorConfig
    decoder : QuantizedDecoder
    simulator : str
        ``"verilator"`` or ``"icarus"``; or ``"serial:PORT"``, a board on a serial port.
    options : dict
        Of `SimulatedCore`, or of `SerialCore`; of both ``progress``, called with the cycles of the program that runs.
    """

    def __init__(self, config, decoder, simulator="verilator", **options):
        self._open(config, CompiledModel(config, decoder), simulator, **options)
        self._compilers = {wants: StepCompiler(self.model, wants) for wants in (False, True)}
        self.blocks = self.model.geometry["blocks"]
        self.last = None
        self.core.write(*self.model.regions)
        program = Program()
        program.add("setup", {f"geometry.{name}": value for name, value in self.model.geometry.items()})
        self.run(program)

    def _open(self, config, model, simulator, **options):
        """A core whose one window is the model's memory."""
        self.name, self.config, self.model, self.cycles = simulator, config, model, 0
        self.core = make_core(simulator, config, memory_bytes=model.memory.end, **options)
        self.core.write_register(register_offset("LAST_LO", 0), model.memory.end - 1)
        self.core.write_register(register_offset("FLAGS", 0), 3)
        for name, value in (("BUS_TIMEOUT", BUS_TIMEOUT), ("INTERRUPT_ENABLE", 1)):
            self.core.write_register(BY_NAME[name].offset, value)

    def read_memory(self, address, size):
        """Bytes of memory."""
        return self.core.read(address, size)

    def read(self, name):
        """A register."""
        return self.core.read_register(BY_NAME[name].offset)

    def read_pair(self, name):
        """A number in two registers."""
        low = self.read(f"{name}_LO")
        return low | self.read(f"{name}_HI") << 32

    def start(self, address, length):
        """Run the program at an address, and wait for its end, however it comes."""
        for name, value in (("PROGRAM_LO", address), ("LENGTH", length), ("CONTROL", START)):
            self.core.write_register(BY_NAME[name].offset, value)
        ended = self.core.wait()
        self.cycles += ended.cycles
        if ended.hangs:
            raise ProgramFailed(f"the program hangs: no transfer on the bus up to cycle {ended.cycles}")
        self.core.write_register(BY_NAME["CONTROL"].offset, CLEAR_INTERRUPT)

    def run(self, program, regions=()):
        """Run a `Program`; returns its `StepCost`.

        Raises
        ------
        ProgramFailed
            With the fault in words.
        """
        image = program.pack()
        self.core.write((self.model.program.address, image), *regions)
        self.start(self.model.program.address, len(program))
        fault = self.read("FAULT")
        code = StatusCode(fault & 0xff)
        if code is not StatusCode.OK:
            index = self.read("FAULT_INDEX")
            raise ProgramFailed(explain(image, {
                "code": code, "detail": fault >> 8 & 0xff, "unit": fault >> 16 & 7, "index": index,
                "address": self.read_pair("FAULT_ADDRESS"), "instruction": self.read_pair("FAULT_INSTRUCTION")}))
        counters = {name: self.read_pair(name.upper()) for name in PROGRAM_COUNTERS}
        return StepCost(counters["cycles"], counters)

    def _operation(self, op, **fields):
        program = Program()
        program.add("cache", {"op": op, **fields})
        self.run(program)
        result = self.read("RESULT_LO")
        return result & 0xffff, result >> 16

    def open(self, policy):
        return self._operation(CacheOp.OPEN, policy=policy.kind, size=policy.size, recent=policy.recent,
                               chunk=policy.chunk)

    def close_sequence(self, handle):
        self._operation(CacheOp.CLOSE, slot=handle[0], generation=handle[1])

    def step(self, parts, wants_largest=False):
        self.last = step = self._compilers[wants_largest].step(parts)
        program, *tables = step.regions
        if self.core.activity:
            self.core.mark()
        cost = self.run(step.program, tables)
        return [self._logits(step, placed, wants_largest) if placed.part.logits else None
                for placed in step.placed], cost

    def _logits(self, step, placed, wants_largest):
        row = step.logits[placed.rows[-1]]
        if wants_largest:
            entries = np.frombuffer(self.core.read(self.model.largest.address + row * 64, 64), "<u4").reshape(-1, 2)
            held = entries[:, 1] != NO_INDEX
            return Logits(entries[held, 0].astype(np.int32), entries[held, 1].astype(np.int64))
        group, lane = divmod(row, self.config.rows)
        image = self.core.read(self.model.logits.at(group), self.model.logits.group_bytes)
        return Logits(np.frombuffer(image, "<i2").reshape(-1, self.config.rows)[:, lane])

    def close(self):
        self.core.close()


ENGINES = ("golden", "verilator", "icarus")


def make_engine(name, config, decoder, **options):
    """The engine of a backend's name."""
    if name == "golden":
        return GoldenEngine(config, decoder)
    if name in ENGINES or name.startswith(PREFIX):
        return CoreEngine(config, decoder, name, **options)
    raise ValueError(f"backend is {name!r}: allowed are {', '.join(map(repr, ENGINES))} and '{PREFIX}PORT'")
