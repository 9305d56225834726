"""Whole language models on the whole core: every logit is golden's."""

import numpy as np
import pytest
from olivine.config import PRESETS
from olivine.kvcache.descriptor import CacheOp
from olivine_host.simulation.core import SimulatedCore

from tests.core.models import MODELS, POLICIES, converse, decoder
from tests.core.rig import ModelHost


@pytest.mark.parametrize("name", MODELS)
def test_models(core, name):
    """Sequences enter and leave; one reaches the limit of the context."""
    host = ModelHost(core, decoder(name))
    tokens, _ = converse(host, seed=3, steps=8)
    assert tokens > 20
    full, context, vocab = host.open(), host.decoder.config.context, host.decoder.config.vocab
    while full.length < context:
        host.step([(full, [(3 * full.length + index) % vocab for index in range(min(7, context - full.length))])])


@pytest.mark.parametrize("name, policies", [("ovp4", ("window", "none")), ("shared heads", ("short window", "window")),
                                            ("int8", ("heavy", "none"))])
def test_policies(core, name, policies):
    """Windows, whose blocks go back to the pool, and heavy hitters, beside sequences that keep all.

    Heavy hitters of query heads that share a KV head are not compiled yet."""
    host = ModelHost(core, decoder(name, 2))
    core.stall(20)
    assert converse(host, seed=4, steps=10, policies=[POLICIES[policy] for policy in policies])[0] > 20


@pytest.mark.parametrize("name, policies", [("int8", ("heavy", "none")), ("ovp4", ("window", "none"))])
def test_words_in_parts(parts_core, name, policies):
    """With `vector_cycles` above 1."""
    host = ModelHost(parts_core, decoder(name, 6))
    assert converse(host, seed=7, steps=10, policies=[POLICIES[policy] for policy in policies])[0] > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(4))
def test_long_conversations(core, name, seed):
    host = ModelHost(core, decoder(name, seed))
    core.stall((0, 30, 60, 0)[seed])
    converse(host, seed=10 + seed, steps=60, policies=[
        policy for policy in POLICIES.values() if not policy.heavy or host.decoder.config.group == 1])


def test_a_batch_changes_nothing(core):
    """The same tokens alone, in one prompt, token by token, and among others: the same bits."""
    host = ModelHost(core, decoder("shared heads", 5))
    tokens = np.random.default_rng(6).integers(0, host.decoder.config.vocab, 21).tolist()

    def play(splits, others=()):
        sequence, at, found = host.open(), 0, {}
        for count in splits:
            batch = [*[(other, [at % 7] * (1 + index)) for index, other in enumerate(others)],
                     (sequence, tokens[at:at + count])]
            if at % 2:
                batch.reverse()
            got = host.step(batch)
            at += count
            found[at] = got[0 if batch[0][0] is sequence else -1]
        host.close(sequence)
        return found

    alone = play([1] * len(tokens))
    prompt = play([8, 8, 5])
    others = [host.open(), host.open()]
    among = play([3, 1, 2, 1, 4, 2, 1, 3, 1, 3], others)
    for found in (prompt, among):
        assert all(np.array_equal(alone[at], logits) for at, logits in found.items())


def test_trees(core):
    """A tree of guesses behind a prompt: each path's logits are those of its tokens in sequence; and the path that is
    kept goes on as if there had never been another."""
    host = ModelHost(core, decoder("int8", 7))
    rng = np.random.default_rng(8)
    prompt = rng.integers(0, host.decoder.config.vocab, 2).tolist()
    # Parents: 0 and 1 are first guesses, 2 and 3 follow 0, 4 follows 2, 5 follows 1.
    parents = [-1, -1, 0, 0, 2, 1]
    guesses = rng.integers(0, host.decoder.config.vocab, len(parents)).tolist()
    masks, depths, paths = [], [], []
    for token, parent in enumerate(parents):
        masks.append((masks[parent] if parent >= 0 else 0) | 1 << token)
        depths.append(depths[parent] + 1 if parent >= 0 else 0)
        paths.append(([*paths[parent]] if parent >= 0 else []) + [token])
    sequence = host.open()
    host.step([(sequence, prompt)])
    host.operate(CacheOp.APPEND, sequence, count=len(guesses))
    part = host.part(sequence, guesses, tree=tuple(masks), depths=tuple(depths))
    step = host.compiler.step([part], reserve=False)
    core.write(*step.regions)
    outcome = host.run_step(step)
    assert outcome.ok, outcome
    (got,) = host.logits(step)
    # All of them lie in one page, where sums do not depend on the order of pages.
    for token, path in enumerate(paths):
        ids = np.array([[*prompt, *(guesses[place] for place in path)]])
        assert np.array_equal(got[token], host.golden.forward(ids)[0, -1]), token
    path = paths[4]
    host.operate(CacheOp.COMMIT, sequence, tree=1, path=masks[4])
    sequence.golden = host.golden.open(1)
    host.golden.step([(sequence.golden, np.array([[*prompt, *(guesses[place] for place in path)]]))])
    sequence.length += len(path)
    for count in (1, 3, 2):
        host.step([(sequence, rng.integers(0, host.decoder.config.vocab, count).tolist())])


def test_two_steps_in_one_program(core):
    """The second begins before the first has ended, of which nobody wants logits."""
    host = ModelHost(core, decoder("ovp4", 9), sets=2)
    rng = np.random.default_rng(10)
    first, second = host.open(), host.open()
    batches = [[(first, rng.integers(0, 37, 6).tolist())], [(second, rng.integers(0, 37, 8).tolist())]]
    steps = host.compiler.steps([[host.part(*part, logits=number == 1) for part in batch]
                                 for number, batch in enumerate(batches)])
    core.write(*steps[-1].regions)
    assert host.run_step(steps[-1]).ok
    host.expect(batches[1], [host.logits(steps[1])[0][-1]])
    host.expect(batches[0], [])
    host.step([(first, [1, 2]), (second, [3])])


@pytest.mark.slow
def test_on_icarus():
    """The harness's memory is of 1 MB there; the model fits."""
    with SimulatedCore(PRESETS["tiny"], "icarus", hang_cycles=20_000) as simulated:
        host = ModelHost(simulated, decoder("smallest", 11), clear=True)
        assert host.model.memory.end <= simulated.memory_bytes
        sequence = host.open()
        host.step([(sequence, [5, 6, 7])])
        host.step([(sequence, [8])])
