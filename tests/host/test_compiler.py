"""Programs of the compiler on the golden machine give what the integer decoder gives, and leave nothing out."""

from dataclasses import replace

import numpy as np
import pytest
from olivine.config import PRESETS, ConfigError
from olivine.control.instruction import Unit
from olivine.control.job import StatusCode
from olivine.kvcache.descriptor import CacheOp, CachePolicy
from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.forward import Decoder
from olivine_golden.decoder.model import DecoderConfig
from olivine_golden.kv_sequence import Policy, heavy, window
from olivine_golden.machine import Machine
from olivine_host.compiler.batch import Part, place
from olivine_host.compiler.model import CompiledModel
from olivine_host.compiler.program import Program, Region
from olivine_host.compiler.step import StepCompiler, halves
from olivine_host.device.device import Completion, _Sequence
from olivine_host.isa.assembler import listing

TINY = PRESETS["tiny"]
FORMATS = {"formats": (LaneFormat.OVP4_INT, LaneFormat.INT8), "groups": (Group.G64, Group.CHANNEL)}


def sizes(**changes):
    return DecoderConfig(**{"layers": 2, "d_model": 24, "heads": 3, "kv_heads": 3, "head_dim": 8, "hidden": 40,
                            "context": 64, "vocab": 37, "function": Function.GELU_TANH, **changes})


class Board:
    """A model on the golden machine."""

    def __init__(self, config, decoder, **options):
        self.config, self.model = config, CompiledModel(config, decoder, **options)
        self.machine = Machine(config)
        self.load(self.model.regions)
        setup = Program()
        setup.add("setup", {f"geometry.{name}": value for name, value in self.model.geometry.items()})
        self.run(setup)

    def load(self, regions):
        for address, content in regions:
            self.machine.memory[address:address + len(content)] = bytes(content)

    def run(self, program, regions=()):
        self.load([(self.model.program.address, program.pack()), *regions])
        ended = self.machine.run(self.model.program.address, len(program))
        assert ended.code is StatusCode.OK, (ended, listing(program.pack()))
        return ended

    def open(self, policy=Policy()):    # noqa: B008
        program = Program()
        program.add("cache", {"op": CacheOp.OPEN, "policy": policy.kind, "size": policy.size, "recent": policy.recent,
                              "chunk": policy.chunk})
        result = self.run(program).result
        return result & 0xffff, result >> 16

    def step(self, step):
        """Logits by row of the batch."""
        self.run(step.program, step.regions)
        model, rows, found = self.model, self.config.rows, {}
        for row, index in step.logits.items():
            at = model.logits.at(index // rows)
            words = np.frombuffer(self.machine.memory[at:at + model.logits.group_bytes], "<i2").reshape(-1, rows)
            found[row] = words[:, index % rows]
        return found


SPLITS = ((3, 0, 0, 4), (0, 5, 0, 0), (2, 3, 1, 0), (1, 1, 1, 0), (0, 1, 1, 6), (1, 1, 1, 1))


@pytest.mark.parametrize("changes, cache", [
    ({}, (LaneFormat.INT8, LaneFormat.INT8)),
    ({"heads": 4, "kv_heads": 2, "head_dim": 16, "vocab": 101, "function": Function.RELU},
     (LaneFormat.OVP4_INT, LaneFormat.INT8)),
    ({"layers": 1, "d_model": 40, "heads": 1, "kv_heads": 1, "head_dim": 32, "function": Function.SILU},
     (LaneFormat.OVP4_FLINT, LaneFormat.OVP4_INT))])
def test_any_batch_gives_the_logits_of_each_alone(changes, cache):
    decoder = random_decoder(sizes(**changes), 1, cache=cache, **FORMATS)
    board, compiler = Board(TINY, decoder), StepCompiler(CompiledModel(TINY, decoder))
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, decoder.config.vocab, (4, 16))
    want = Decoder(decoder, TINY.lanes).forward(tokens)
    handles, done = [board.open() for _ in tokens], [0] * len(tokens)
    for counts in SPLITS:
        parts = [Part(handles[index], done[index], tuple(tokens[index, done[index]:][:count].tolist()))
                 for index, count in enumerate(counts) if count]
        step = compiler.step(parts)
        logits = board.step(step)
        for placed, index in zip(step.placed, [index for index, count in enumerate(counts) if count]):
            done[index] += len(placed.part.tokens)
            assert np.array_equal(logits[placed.rows[-1]], want[index, done[index] - 1]), (counts, index)


@pytest.mark.parametrize("policy, kv_heads", [
    (window(9), 2), (window(11), 1), (heavy(6, 4, 8), 2), (heavy(6, 4, 2), 2)])
def test_sequences_that_forget(policy, kv_heads):
    decoder = random_decoder(sizes(heads=2, kv_heads=kv_heads, head_dim=16), 1,
                             cache=(LaneFormat.OVP4_INT, LaneFormat.INT8), **FORMATS)
    board, compiler = Board(TINY, decoder), StepCompiler(CompiledModel(TINY, decoder))
    tokens = np.random.default_rng(1).integers(0, 37, 40).tolist()
    sequence = _Sequence(0, Completion(tokens), None, 1, policy)
    sequence.handle = board.open(policy)
    golden = Decoder(decoder, TINY.lanes)
    expected = golden.open(1, policy)
    chunk = policy.chunk if policy.kind is CachePolicy.HEAVY else 8
    while sequence.length < len(tokens):
        count = min(chunk if sequence.length < 16 else 1, len(tokens) - sequence.length)
        want = golden.step([(expected, np.array([sequence.waiting[:count]]))])[0][0, -1]
        step = compiler.step([replace(sequence.part(count), logits=True)])
        assert np.array_equal(board.step(step)[step.placed[0].rows[-1]], want), sequence.length
        sequence.took(count)


def test_steps_in_one_program_and_steps_without_logits():
    """A prompt in one program of several steps, only the last with logits, is as one in a single step."""
    decoder = random_decoder(sizes(), 1, **FORMATS)
    model = CompiledModel(TINY, decoder, sets=2)
    board, compiler = Board(TINY, decoder, sets=2), StepCompiler(model)
    tokens = np.random.default_rng(5).integers(0, 37, 22).tolist()
    handle, rows = board.open(), TINY.chunk_rows
    steps = compiler.steps([[Part(handle, start, tuple(tokens[start:start + rows]), start + rows >= len(tokens))]
                            for start in range(0, len(tokens), rows)])
    assert [bool(step.logits) for step in steps] == [False, False, True]
    logits = board.step(steps[-1])
    want = Decoder(decoder, TINY.lanes).forward(np.array([tokens]))[0, -1]
    assert np.array_equal(logits[steps[-1].placed[0].rows[-1]], want)
    with pytest.raises(ValueError, match="not the program's last"):
        compiler.steps([[Part(handle, 22, (1,))], [Part(handle, 23, (1,))]])
    # What nobody needs is not computed: of the last layer of the first two steps only keys and values.
    units = [instruction.kind for instruction in steps[0].program.instructions]
    assert units.count("attention") == 2 * 3 - 2


def test_an_instruction_waits_for_what_it_reads_and_overwrites():
    program = Program()
    a, b, whole = Region(0, 16), Region(16, 16), Region(0, 32)
    program.add("vector", {}, writes=[a])
    program.add("linear", {}, reads=[a], writes=[b])
    program.add("vector", {}, writes=[a])
    program.add("attention", {}, reads=[whole])
    program.add("append", {}, reads=[Region(32, 8)], writes=[Region(0, 1, "elsewhere")])
    program.add("linear", {}, writes=[whole])
    waits = [instruction.waits for instruction in program.instructions]
    assert waits[0] == {} and waits[1] == {Unit.VECTOR: 1} and waits[2] == {Unit.LINEAR: 1, Unit.VECTOR: 1}
    assert waits[3] == {Unit.LINEAR: 1, Unit.VECTOR: 2} and waits[4] == {}
    assert waits[5][Unit.ATTENTION] == 1


def test_single_tokens_fill_the_rows_that_prompts_leave():
    def part(tokens):
        return Part((0, 0), 0, (1,) * tokens)

    placed, groups = place([part(1), part(3), part(1), part(1), part(4)], 4, 16)
    assert [one.row for one in placed] == [3, 0, 8, 9, 4] and groups == 3
    with pytest.raises(ValueError, match="17 tokens of 1 sequences take 20 rows: a step has at most 16"):
        place([part(17)], 4, 16)
    with pytest.raises(ValueError, match="no parts"):
        place([], 4, 16)


def test_halves_only_where_each_keeps_the_array_busy():
    edge = PRESETS["edge"]
    assert halves(edge, 1, LaneFormat.OVP4_INT) == [(0, 1)] and halves(edge, 3, LaneFormat.OVP4_INT) == [(0, 3)]
    assert halves(edge, 5, LaneFormat.OVP4_INT) == [(0, 3), (3, 2)]
    assert halves(edge, 4, LaneFormat.INT8) == [(0, 4)] and halves(edge, 8, LaneFormat.INT8) == [(0, 4), (4, 4)]


@pytest.mark.parametrize("changes, message", [
    ({"head_dim": 40}, "head_dim is 40: preset 'tiny' has at most 32, 8 fewer"),
    ({"hidden": 600}, "the largest reduction is 600: preset 'tiny' has at most 512, 88 fewer"),
    ({"context": 600}, "context is 600: preset 'tiny' has at most 512"),
    ({"head_dim": 12}, "head_dim is 12: allowed are multiples of 8"),
])
def test_says_what_does_not_fit(changes, message):
    with pytest.raises(ConfigError, match=message):
        CompiledModel(TINY, random_decoder(sizes(**changes), 0))


def test_says_by_how_much_memory_is_too_small():
    small = replace(TINY, name="small", addr_width=19, tile_bytes=0)
    with pytest.raises(ConfigError, match=r"memory ends at 0x7e000, \d+ bytes before"):
        CompiledModel(small, random_decoder(sizes(), 0))
