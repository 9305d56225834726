"""Stage by stage, where the core, the golden model and float part: one step of one short prompt.

The step's program runs in pieces, cut behind the last instruction of each stage; after each the stage's rows are read.
What lies in the scratchpad an instruction copies to memory first.
"""

from dataclasses import dataclass

import numpy as np
from olivine.control.job import StatusCode
from olivine.kvcache.descriptor import CacheOp
from olivine.vector.descriptor import VectorOp
from olivine_golden.decoder.forward import Decoder
from olivine_golden.kv_sequence import Policy
from olivine_golden.machine import Machine

from ..compiler.batch import Part
from ..compiler.model import CompiledModel
from ..compiler.program import Program
from ..compiler.step import StepCompiler
from ..isa.instruction import Instruction
from ..isa.layouts import KINDS
from ..lm.compare import stage_errors

__all__ = ["GoldenMachine", "StageResult", "compare_stages"]


@dataclass(frozen=True)
class StageResult:
    """One stage.

    Parameters
    ----------
    layer : int
        -1: before all layers; their number: behind them.
    stage : str
        As `olivine_golden.decoder.forward.Decoder` names them.
    differ, total : int
        Values of the core that are not golden's, of how many.
    error : float or None
        Relative error of golden's rows to float ones, as of `olivine_host.lm.compare.stage_errors`.
    """

    layer: int
    stage: str
    differ: int
    total: int
    error: float | None


class GoldenMachine:
    """The golden model of the core behind what `compare_stages` needs of an engine: compiled programs on a memory
    image, one instruction after the other."""

    name = "golden machine"

    def __init__(self, config, decoder):
        self.config, self.model = config, CompiledModel(config, decoder)
        self._machine = Machine(config)
        self._load(self.model.regions)
        program = Program()
        program.add("setup", {f"geometry.{name}": value for name, value in self.model.geometry.items()})
        self.run(program)

    def _load(self, regions):
        for address, content in regions:
            self._machine.memory[address:address + len(content)] = bytes(content)

    def run(self, program, regions=()):
        self._load([(self.model.program.address, program.pack()), *regions])
        ended = self._machine.run(self.model.program.address, len(program))
        if ended.code is not StatusCode.OK:
            raise RuntimeError(f"the golden machine's program ended with {ended}")
        return ended

    def open(self, policy):
        program = Program()
        program.add("cache", {"op": CacheOp.OPEN, "policy": policy.kind, "size": policy.size})
        result = self.run(program).result
        return result & 0xffff, result >> 16

    def close_sequence(self, handle):
        program = Program()
        program.add("cache", {"op": CacheOp.CLOSE, "slot": handle[0], "generation": handle[1]})
        self.run(program)

    def read_memory(self, address, size):
        return self._machine.memory[address:address + size]


_IN_MEMORY = {"normalised": "residual", "attention": "qkv", "activated": "hidden"}
"""Where rows of the scratchpad are copied to: rows of several row groups that lie in memory, are at least as wide, and
are of no use in a step of one row group. By default those of the same name."""


def _stages(sizes):
    """(label of the last instruction, buffer, layer, stage) in the program's order."""
    last = sizes.layers
    for layer in range(last):
        yield f"layer {layer} norm 1", "residual", layer - 1, "residual" if layer else "embedding"
        yield f"layer {layer} norm 1", "normalised", layer, "norm1"
        for label, buffer, stage in (("qkv", "qkv", "qkv"), ("attention", "attention", "attention"),
                                     ("proj", "result", "proj"), ("norm 2", "residual", "middle"),
                                     ("norm 2", "normalised", "norm2"), ("up", "hidden", "up"),
                                     ("activation", "activated", "activation"), ("down", "result", "down")):
            yield f"layer {layer} {label}", buffer, layer, stage
    yield "last norm", "residual", last - 1, "residual"
    yield "last norm", "normalised", last, "norm"
    yield "head", "logits", last, "head"


def _pieces(program, labels):
    """Cut a `Program` behind the last instruction of each label: (label, piece), each to be run when those before it
    are complete. What follows the last label comes under ""."""
    ends = [max(at for at, label in enumerate(program.labels) if label == wanted) + 1 for wanted in labels]
    done, begin = {}, 0
    for label, end in zip([*labels, ""], [*ends, len(program)]):
        piece = Program()
        before = dict(done)
        for instruction in program.instructions[begin:end]:
            waits = {unit: count - before.get(unit, 0) for unit, count in instruction.waits.items()
                     if count > before.get(unit, 0)}
            piece.instructions.append(Instruction(instruction.kind, instruction.fields, waits))
            piece.labels.append(label)
            unit = KINDS[instruction.kind].unit
            done[unit] = done.get(unit, 0) + 1
        begin = end
        yield label, piece


def compare_stages(engine, decoder, ids, model=None, advance=lambda: None):
    """List of `StageResult`, in the order of the program.

    Parameters
    ----------
    engine : CoreEngine or GoldenMachine
    decoder : QuantizedDecoder
    ids : sequence of int
        A prompt; its first P tokens are taken, which make one row group.
    model : FloatModel or None
    advance : callable
        Called after each stage.
    """
    ids, wanted = np.array(ids)[:engine.config.rows], {}

    def keep(layer, stage, rows):
        # Residuals are changed afterwards.
        wanted[layer, stage] = rows.astype(np.int64)

    Decoder(decoder, engine.config.lanes, keep).forward(ids[None])
    errors = {} if model is None else stage_errors(model, decoder, engine.config.lanes, ids[None])
    handle, found = engine.open(Policy()), []
    try:
        step = StepCompiler(engine.model).step([Part(handle, 0, tuple(ids.tolist()))])
        stages = list(_stages(decoder.config))
        regions = step.regions[1:]
        for label, piece in _pieces(step.program, list(dict.fromkeys(label for label, *_ in stages))):
            if len(piece):
                engine.run(piece, regions)
            regions = ()
            for _, buffer, layer, stage in (entry for entry in stages if entry[0] == label):
                rows = _read(engine, buffer, wanted[layer, stage].shape)
                found.append(StageResult(layer, stage, int((rows != wanted[layer, stage]).sum()), rows.size,
                                         errors.get((layer, stage))))
                advance()
    finally:
        engine.close_sequence(handle)
    return found


def _read(engine, buffer, shape):
    """Rows [tokens, channels] of a buffer of one row group."""
    model, config = engine.model, engine.config
    tokens, channels = shape
    wide = buffer == "residual"
    place = model.logits if buffer == "logits" else model.small[buffer]
    address, size = place.at(0), channels * config.bus_bytes * (1 + wide)
    if address >= config.scratchpad_base:
        to = model.large[0][_IN_MEMORY.get(buffer, buffer)].at(0)
        program = Program()
        program.add("vector", {"op": VectorOp.LANES, "groups": 1, "channels": channels * (1 + wide), "x": address,
                               "y": to, "rotation": 0, "first_lane": 0, "last_lane": config.rows - 1})
        engine.run(program)
        address = to
    image = np.frombuffer(engine.read_memory(address, size), "<i4" if wide else "<i2")
    return image.reshape(channels, config.rows).T[:tokens].astype(np.int64)
