"""The fast integer decoder gives the bits of the golden models of the single jobs."""

import numpy as np
import pytest
from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.forward import Decoder
from olivine_golden.decoder.model import DecoderConfig
from olivine_golden.kv_sequence import Policy, heavy, window

from tests.decoder.naive import NaiveSequence

INT8, INT4, OVP, FLINT = LaneFormat.INT8, LaneFormat.INT4, LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT

SIZES = {
    "plain": DecoderConfig(layers=2, d_model=16, heads=2, kv_heads=2, head_dim=8, hidden=40, context=40, vocab=30,
                           function=Function.GELU_TANH),
    "grouped": DecoderConfig(layers=1, d_model=136, heads=4, kv_heads=2, head_dim=10, hidden=66, context=40, vocab=21,
                             function=Function.SILU, eps=1e-2),
    "odd": DecoderConfig(layers=2, d_model=13, heads=3, kv_heads=1, head_dim=6, hidden=129, context=33, vocab=9,
                         function=Function.RELU),
}

KINDS = {
    "int8": {},
    "ovp4": {"formats": (OVP, FLINT), "groups": (Group.G64, Group.G128), "cache": (OVP, OVP)},
    "mixed": {"formats": (INT8, OVP, FLINT, INT4), "groups": (Group.CHANNEL, Group.G64, Group.G128),
              "cache": (FLINT, INT8)},
}


def naive(model, ids, lanes, policy=Policy(), step=None):  # noqa: B008
    sequence = NaiveSequence(model, lanes, policy)
    step = step or len(ids)
    return np.concatenate([sequence.step(ids[first:first + step]) for first in range(0, len(ids), step)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_windows_equal_the_single_jobs(size, kind):
    config = SIZES[size]
    model = random_decoder(config, 1, **KINDS[kind])
    rng = np.random.default_rng(2)
    for lanes, tokens in ((8, config.context), (64, 11), (8, 1)):
        ids = rng.integers(0, config.vocab, (2, tokens))
        logits = Decoder(model, lanes).forward(ids)
        assert logits.dtype == np.int16 and logits.shape == (2, tokens, config.vocab)
        # Neither all alike nor all at the limits: else the comparison would show nothing.
        assert 1000 < logits.std() < 20000
        for row, wanted in zip(ids, logits):
            np.testing.assert_array_equal(wanted, naive(model, row, lanes, step=7))


@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_one_step(kind):
    config = SIZES["plain"]
    model = random_decoder(config, 3, **KINDS[kind])
    rng = np.random.default_rng(4)
    decoder, ids = Decoder(model, 8), rng.integers(0, config.vocab, (3, 30))
    whole = decoder.forward(ids)
    # Sequences of different lengths in one step, a prompt beside single tokens.
    sequences, done = [decoder.open() for _ in ids], [0, 0, 0]
    got = [[], [], []]
    while min(done) < ids.shape[1]:
        counts = [int(min(rng.choice([0, 1, 1, 9]), ids.shape[1] - at)) for at in done]
        batch = [(sequences[i], ids[i:i + 1, done[i]:done[i] + n]) for i, n in enumerate(counts) if n]
        results = iter(decoder.step(batch)) if batch else iter(())
        for i, n in enumerate(counts):
            if n:
                got[i].append(next(results)[0])
                done[i] += n
    for i in range(3):
        np.testing.assert_array_equal(np.concatenate(got[i]), whole[i])


@pytest.mark.parametrize("lanes", [4, 16])
def test_a_page_more_or_less_shows(lanes):
    """Lanes are part of the arithmetic: were they ignored, this test would not be needed and the others no proof."""
    config = SIZES["plain"]
    model = random_decoder(config, 5)
    ids = np.random.default_rng(6).integers(0, config.vocab, (1, 40))
    assert (Decoder(model, lanes).forward(ids) != Decoder(model, 8).forward(ids)).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", ["plain", "grouped"])
def test_window(size, kind):
    config = SIZES[size]
    model = random_decoder(config, 7, **KINDS[kind])
    ids = np.random.default_rng(8).integers(0, config.vocab, (2, 33))
    decoder = Decoder(model, 8)
    logits = decoder.forward(ids, window(11))
    for row, wanted in zip(ids, logits):
        np.testing.assert_array_equal(wanted, naive(model, row, 8, window(11), step=5))
    assert (logits != decoder.forward(ids)).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", ["plain", "grouped", "odd"])
def test_heavy_hitters(size, kind):
    config = SIZES[size]
    model = random_decoder(config, 9, **KINDS[kind])
    ids = np.random.default_rng(10).integers(0, config.vocab, (3, 33))
    policy = heavy(5, 4, 6)
    decoder = Decoder(model, 8)
    logits = decoder.forward(ids, policy)
    for row, wanted in zip(ids, logits):
        np.testing.assert_array_equal(wanted, naive(model, row, 8, policy, step=6))
    # A prompt in chunks, then token by token.
    sequences = decoder.open(3, policy)
    parts = [decoder.step([(sequences, ids[:, first:last])])[0]
             for first, last in [(0, 6), (6, 12), *((token, token + 1) for token in range(12, 33))]]
    for number, row in enumerate(ids):
        sequence = NaiveSequence(model, 8, policy)
        wanted = [sequence.step(row[first:first + 6]) for first in (0, 6)]
        wanted += [sequence.step(row[token:token + 1]) for token in range(12, 33)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1)[number], np.concatenate(wanted))


def test_ids_that_cannot_be():
    config = SIZES["plain"]
    decoder = Decoder(random_decoder(config, 1), 8)
    sequences = decoder.open()
    for ids, why in (([[0, 30]], "0 to 29"), ([[-1]], "ids range"), ([0], "must be integers"), ([[0.5]], "float"),
                     ([[0] * 41], "context is 40"), ([[]], "must be")):
        with pytest.raises(ValueError, match=why):
            decoder.step([(sequences, np.array(ids))])
    with pytest.raises(ValueError, match="policy allows 6"):
        decoder.step([(decoder.open(1, heavy(5, 4, 6)), np.zeros((1, 7), int))])
