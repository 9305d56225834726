"""A host of the whole core in a simulator: programs and how they ended, and models with the sequences that they run."""

import numpy as np
from olivine.control.instruction import INSTRUCTION_BYTES, Unit
from olivine.control.job import TALLIES, StatusCode
from olivine.kvcache.descriptor import CacheOp
from olivine.vector.descriptor import VectorOp
from olivine_golden.decoder.forward import Decoder
from olivine_golden.kv_sequence import Policy
from olivine_host.compiler.batch import Part
from olivine_host.compiler.model import CompiledModel
from olivine_host.compiler.program import Program
from olivine_host.compiler.step import StepCompiler
from olivine_host.simulation.core import register_offset

__all__ = ["Host", "Outcome", "ModelHost", "START", "ABORT", "CLEAR"]

START, ABORT, CLEAR = 1, 2, 4


class Outcome(dict):
    """How a program ended: ``hangs``, ``cycles``, ``state`` (done, faulted or aborted), ``code``, ``unit``, ``detail``,
    ``index``, ``address``, ``completed``, ``result``."""

    __getattr__ = dict.__getitem__

    @property
    def ok(self):
        return not self.hangs and self.state == "done"


class Host:
    """Registers and programs.

    Parameters
    ----------
    core : SimulatedCore
    windows : list of (first, last, flags)
        Flags: 1 readable, 2 writable.
    timeout : int
    """

    def __init__(self, core, windows, timeout=5_000):
        self.core, self.config, self.windows, self.timeout = core, core.config, windows, timeout
        self.reset()

    def reset(self):
        self.core.reset()
        for index in range(self.config.windows - 1):
            first, last, flags = self.windows[index] if index < len(self.windows) else (0, 0, 0)
            for name, value in (("FIRST_LO", first), ("LAST_LO", last), ("FLAGS", flags)):
                self.core.write_register(register_offset(name, index), value)
        self.write("BUS_TIMEOUT", self.timeout)
        self.write("INTERRUPT_ENABLE", 1)

    def write(self, name, value):
        self.core.write_register(register_offset(name), value)

    def read(self, name):
        return self.core.read_register(register_offset(name))

    def begin(self, address, length):
        self.write("PROGRAM_LO", address)
        self.write("LENGTH", length)
        self.write("CONTROL", START)

    def end(self):
        """Wait for the end; returns the `Outcome`."""
        ended = self.core.wait()
        status, fault = self.read("STATUS"), self.read("FAULT")
        self.write("CONTROL", CLEAR)
        states = [name for bit, name in ((1, "done"), (2, "faulted"), (3, "aborted")) if status >> bit & 1]
        assert len(states) == (not ended.hangs), (states, ended)
        return Outcome(
            hangs=ended.hangs, cycles=ended.cycles, state=states[0] if states else "running",
            code=StatusCode(fault & 0xff), detail=fault >> 8 & 0xff, unit=fault >> 16 & 7,
            index=self.read("FAULT_INDEX"),
            address=self.read("FAULT_ADDRESS_LO") | self.read("FAULT_ADDRESS_HI") << 32,
            completed={unit: self.read(f"COMPLETED_{unit.name}") for unit in Unit}, result=self.read("RESULT_LO"))

    def tallies(self):
        """Of the last program. On Icarus they are unknown if a row without a token was never written."""
        return {name: self.read(name.upper()) for name in TALLIES}

    def run(self, address, program, length=None):
        """Put a program's bytes into memory and run it."""
        self.core.write((address, program))
        self.begin(address, len(program) // INSTRUCTION_BYTES if length is None else length)
        return self.end()


class Running:
    """A sequence: its handle, the tokens that it has, and golden's sequence beside it."""

    def __init__(self, handle, golden, policy):
        self.handle, self.golden, self.policy, self.length = handle, golden, policy, 0
        self.kept = self.cells = 0


class ModelHost(Host):
    """A `QuantizedDecoder` on the core, and its golden twin.

    Parameters
    ----------
    core : SimulatedCore
    decoder : QuantizedDecoder
    clear : bool
        Give every word a value first: Icarus reads those without one as unknown, and rows without a token are read.
    options : dict
        Of `CompiledModel`.
    """

    def __init__(self, core, decoder, clear=False, **options):
        self.decoder = decoder
        self.model = CompiledModel(core.config, decoder, **options)
        self.golden = Decoder(decoder, core.config.lanes)
        self.compiler = StepCompiler(self.model)
        super().__init__(core, [(0, self.model.memory.end - 1, 3)])
        if clear:
            self._clear()
        core.write(*self.model.regions)
        self.set_up()

    def program(self, *instructions):
        """Run instructions (kind, fields), which must all succeed; returns the `Outcome`."""
        program = Program()
        for kind, fields in instructions:
            program.add(kind, fields)
        outcome = self.run(self.model.program.address, program.pack())
        assert outcome.ok, outcome
        return outcome

    def _clear(self):
        memory, word = self.model.memory, self.config.bus_bytes
        self.core.write((0, bytes(-(-memory.end // word) * word)))
        used = (self.config.scratchpad_bytes - memory.scratchpad_free) // word
        zeros = self.model.tables.address - used * word
        self.program(("vector", {"op": VectorOp.LANES, "groups": 1, "channels": used, "x": zeros,
                                 "y": self.config.scratchpad_base, "last_lane": self.config.rows - 1}))

    def set_up(self):
        self.program(("setup", {f"geometry.{name}": value for name, value in self.model.geometry.items()}))

    def open(self, policy=None):
        policy = policy or Policy()
        result = self.program(("cache", {"op": CacheOp.OPEN, "policy": policy.kind, "size": policy.size,
                                         "recent": policy.recent, "chunk": policy.chunk})).result
        return Running((result & 0xffff, result >> 16), self.golden.open(1, policy), policy)

    def operate(self, op, sequence, **fields):
        slot, generation = sequence.handle
        return self.program(("cache", {"op": op, "slot": slot, "generation": generation, **fields}))

    def close(self, sequence):
        self.operate(CacheOp.CLOSE, sequence)

    def part(self, sequence, tokens, **fields):
        if sequence.policy.heavy:
            sequence.cells = max(sequence.cells, sequence.kept + len(tokens))
            fields["cells"] = sequence.cells
        return Part(sequence.handle, sequence.length, tuple(map(int, tokens)), policy=sequence.policy, **fields)

    def compile(self, batch, **options):
        """(Sequence, tokens) pairs as a `Step`, its tables and program in memory."""
        step = self.compiler.step([self.part(sequence, tokens) for sequence, tokens in batch], **options)
        self.core.write(*step.regions)
        return step

    def took(self, batch):
        for sequence, tokens in batch:
            sequence.length += len(tokens)
            sequence.kept = min(sequence.kept + len(tokens), sequence.policy.heavy + sequence.policy.recent)

    def logits(self, step):
        """Int16 [row][vocab] for each part, of the rows that have logits."""
        model, rows = self.model, self.config.rows
        size = step.logits_groups * model.logits.group_bytes
        image = np.frombuffer(self.core.read(model.logits.at(0), size), "<i2")
        image = image.reshape(step.logits_groups, -1, rows)
        return [np.stack([image[step.logits[row] // rows, :, step.logits[row] % rows]
                          for row in placed.rows if row in step.logits]) for placed in step.placed]

    def run_step(self, step):
        self.begin(self.model.program.address, len(step.program))
        return self.end()

    def step(self, batch):
        """Run a step; returns the logits after each part's last token. Golden takes it too, and must agree."""
        step = self.compile(batch)
        outcome = self.run_step(step)
        assert outcome.ok, outcome
        got = [rows[-1] for rows in self.logits(step)]
        self.expect(batch, got)
        return got

    def expect(self, batch, got):
        """Golden takes the step; its logits must be these."""
        self.took(batch)
        wanted = self.golden.step([(sequence.golden, np.array([tokens])) for sequence, tokens in batch])
        for number, (logits, want) in enumerate(zip(got, wanted)):
            assert np.array_equal(logits, want[0, -1]), f"part {number} of {[len(tokens) for _, tokens in batch]}"
