"""Errors of the bus, silence, aborts and resets in the middle of steps: the program ends, says what was wrong, and what
comes after it is as if nothing had happened."""

import random

import numpy as np
import pytest
from olivine.control.instruction import FETCH, INSTRUCTION_BYTES, OPCODES, Unit
from olivine.control.job import StatusCode
from olivine.kvcache.descriptor import CacheOp
from olivine.vector.formats import Function
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.model import DecoderConfig
from olivine_host.isa.layouts import KINDS

from tests.core.rig import ABORT, ModelHost

SMALL = DecoderConfig(layers=1, d_model=16, heads=2, kv_heads=2, head_dim=8, hidden=24, context=64, vocab=11,
                      function=Function.RELU)


class Disturbed:
    """Sequences whose steps are disturbed, one that is never in a disturbed step, and the way back after each.

    The host's way back uses only what the registers say: how many operations on the cache were complete.
    """

    def __init__(self, core, seed):
        self.core, self.rng = core, random.Random(seed)
        self.host = ModelHost(core, random_decoder(SMALL, 1))
        self.open()

    def open(self):
        self.victims, self.bystander = [self.host.open(), self.host.open()], self.host.open()
        self.host.step([(self.bystander, self.tokens(3)), (self.victims[0], self.tokens(1))])

    def tokens(self, count):
        return [self.rng.randrange(SMALL.vocab) for _ in range(count)]

    def renew(self):
        """Sequences that are nearly full make room."""
        for index, sequence in enumerate([*self.victims, self.bystander]):
            if sequence.length > SMALL.context - 10:
                self.host.close(sequence)
                fresh = self.host.open()
                if index < 2:
                    self.victims[index] = fresh
                else:
                    self.bystander = fresh

    def prepare(self):
        """A step of the victims, in memory."""
        self.renew()
        self.batch = [(self.victims[0], self.tokens(self.rng.choice((1, 4)))), (self.victims[1], self.tokens(
            self.rng.choice((1, 3))))][:self.rng.choice((1, 2))]
        self.step = self.host.compile(self.batch)
        self.host.begin(self.host.model.program.address, len(self.step.program))

    def check(self, outcome):
        """All instructions before the one that failed are complete, and it is its unit's."""
        kinds = [KINDS[instruction.kind].unit for instruction in self.step.program.instructions]
        assert outcome.index < len(kinds)
        assert outcome.unit in (FETCH, kinds[outcome.index].value)
        for unit in Unit:
            assert outcome.completed[unit] >= kinds[:outcome.index].count(unit), (outcome, unit)
        assert set(OPCODES.values()) == set(Unit) and INSTRUCTION_BYTES == 64

    def recover(self, outcome):
        """Undo the step, whatever was done of it; then everyone goes on."""
        parts, done = len(self.batch), outcome.completed[Unit.CACHE]
        for number, (sequence, _) in enumerate(self.batch):
            if number < done - parts:
                self.host.operate(CacheOp.TRUNCATE, sequence, count=sequence.length)
            elif number < done:
                self.host.operate(CacheOp.COMMIT, sequence, count=0)
        self.again()

    def again(self):
        self.host.step([*self.batch, (self.bystander, self.tokens(1))])

    def finish(self, outcome, codes):
        """After a disturbance that may also have come too late, or hit nobody; returns the code."""
        assert not outcome.hangs, outcome
        self.core.fail_burst(0)
        if outcome.ok:
            self.host.expect(self.batch, [rows[-1] for rows in self.host.logits(self.step)])
            return StatusCode.OK
        assert outcome.code in codes, outcome
        if outcome.state == "faulted":
            self.check(outcome)
        self.recover(outcome)
        return outcome.code


def fail(core, seed, trials):
    """Bursts that fail; returns the codes, and the units that told them."""
    disturbed, seen, units = Disturbed(core, seed), set(), set()
    for _ in range(trials):
        writes = disturbed.rng.random() < 0.3
        core.fail_burst(-disturbed.rng.randint(1, 30) if writes else disturbed.rng.randint(1, 110))
        disturbed.prepare()
        outcome = disturbed.host.end()
        seen.add(disturbed.finish(outcome, {StatusCode.WRITE_SLVERR if writes else StatusCode.READ_SLVERR}))
        units.add(outcome.unit)
    return seen, units


def abort(core, seed, trials):
    disturbed, seen = Disturbed(core, seed), set()
    for _ in range(trials):
        disturbed.prepare()
        core.run_cycles(disturbed.rng.randint(1, 3_500))
        disturbed.host.write("CONTROL", ABORT)
        seen.add(disturbed.finish(disturbed.host.end(), {StatusCode.OK, StatusCode.ABORTED}))
    return seen


def silence(core, seed, trials):
    """The bus says nothing any more. Who waits for it says so; the program ends, at the latest when the bus has
    answered what was asked before. Returns the codes, and how many programs ended only then."""
    disturbed, seen, waited = Disturbed(core, seed), set(), 0
    for _ in range(trials):
        disturbed.prepare()
        core.run_cycles(disturbed.rng.randint(1, 3_000))
        core.mute()
        ended = core.wait()
        waited += ended.hangs
        core.mute()
        outcome = disturbed.host.end()
        seen.add(disturbed.finish(outcome, {StatusCode.TIMEOUT}))
    return seen, waited


def reset(core, seed, trials):
    """A reset forgets the tables of the cache: everyone begins again."""
    disturbed = Disturbed(core, seed)
    for _ in range(trials):
        disturbed.prepare()
        core.run_cycles(disturbed.rng.randint(1, 3_000))
        disturbed.host.reset()
        disturbed.host.set_up()
        disturbed.open()
        disturbed.host.step([(disturbed.victims[1], disturbed.tokens(5))])
        disturbed.host.step([(disturbed.victims[0], disturbed.tokens(2)), (disturbed.bystander, disturbed.tokens(1))])


@pytest.mark.parametrize("stall", [0, 40])
def test_errors_of_the_bus(core, stall):
    core.stall(stall)
    seen, units = fail(core, 1 + stall, 14)
    assert seen >= {StatusCode.READ_SLVERR, StatusCode.WRITE_SLVERR} and len(units) >= 3, (seen, units)


def test_aborts(core):
    assert StatusCode.ABORTED in abort(core, 2, 14)


def test_silence(core):
    assert StatusCode.TIMEOUT in silence(core, 3, 6)[0]


def test_resets(core):
    reset(core, 4, 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_disturbances(core, seed):
    core.stall((0, 30, 60, 0)[seed])
    assert len(fail(core, 100 + seed, 150)[1]) >= 5
    abort(core, 200 + seed, 150)
    silence(core, 300 + seed, 50)
    reset(core, 400 + seed, 25)


def test_abort_without_a_program(core):
    """Nothing happens."""
    disturbed = Disturbed(core, 5)
    disturbed.host.write("CONTROL", ABORT)
    disturbed.prepare()
    outcome = disturbed.host.end()
    assert outcome.ok
    got = [rows[-1] for rows in disturbed.host.logits(disturbed.step)]
    disturbed.host.expect(disturbed.batch, got)
    assert all(isinstance(row, np.ndarray) for row in got)
