"""`Device` on the golden model: batches change no token, choices depend on nothing but seed and prompt, errors."""

import numpy as np
import pytest
from olivine.config import PRESETS
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.model import DecoderConfig
from olivine_golden.kv_sequence import Policy, heavy, window
from olivine_host.compiler.batch import place
from olivine_host.device import Device
from olivine_host.device.engines import GoldenEngine, ProgramFailed
from olivine_host.device.sampling import Logits, Sampler, Sampling
from olivine_host.lm.model import QuantizedLM

CONFIG = PRESETS["tiny"]
SIZES = DecoderConfig(layers=2, d_model=24, heads=4, kv_heads=2, head_dim=8, hidden=40, context=40, vocab=50,
                      function=Function.GELU_TANH)
OVP4 = LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT

PROMPTS = [np.random.default_rng(number).integers(0, 50, length).tolist()
           for number, length in enumerate([3, 1, 17, 8, 2, 11, 9])]


@pytest.fixture(scope="module")
def lm():
    other = random_decoder(SIZES, 5, cache=OVP4)
    return QuantizedLM(random_decoder(SIZES, 5), OVP4, tuple(layer.attention for layer in other.layers))


@pytest.fixture
def device(lm):
    with Device("golden", config=CONFIG) as device:
        yield device.load(lm)


def tokens(completions):
    return [completion.tokens for completion in completions]


# --- Batches ------------------------------------------------------------------------------------------

POLICIES = {"all": Policy(), "window": window(6), "heavy": heavy(3, 4, CONFIG.chunk_rows), "chunks": heavy(4, 3, 3)}


@pytest.mark.parametrize("cache", ["int8", "ovp4"])
@pytest.mark.parametrize("policy", POLICIES)
def test_each_prompt_gets_what_it_gets_alone(device, lm, policy, cache):
    device.load(lm, cache)
    options = {"max_new_tokens": 9, "policy": POLICIES[policy]}
    alone = [device.generate(prompt, **options).tokens for prompt in PROMPTS]
    assert len(set(map(tuple, alone))) > 4, "prompts that all end alike show nothing"
    for batch in (1, 2, 3, None):
        assert tokens(device.generate(PROMPTS, batch=batch, **options)) == alone


def test_what_the_model_says_is_what_its_decoder_does(device, lm):
    from olivine_golden.decoder.forward import Decoder
    prompt, made = list(PROMPTS[2]), device.generate(PROMPTS[2], max_new_tokens=5)
    decoder = Decoder(lm.decoder, CONFIG.lanes)
    for token in made.tokens:
        assert int(decoder.forward([prompt])[0, -1].argmax()) == token
        prompt.append(token)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_step_fits_the_core(device, policy):
    device.generate(PROMPTS, max_new_tokens=9, policy=POLICIES[policy])
    for parts, _ in device.costs:
        place(parts, CONFIG.rows, CONFIG.chunk_rows)
    assert max(len(parts) for parts, _ in device.costs) > 1
    fed = sum(len(part.tokens) for parts, _ in device.costs for part in parts)
    assert fed == sum(map(len, PROMPTS)) + len(PROMPTS) * 8, "the last token of each goes through no step"


def test_sequences_enter_when_others_leave(device):
    device.generate([PROMPTS[2], [1], [2]], max_new_tokens=4, batch=2)
    handles = [{part.handle for part in parts} for parts, _ in device.costs]
    assert all(len(of_step) <= 2 for of_step in handles)
    first, second, third = sorted(set().union(*handles))
    assert any({third, other} <= of_step for of_step in handles for other in (first, second)), \
        "the third enters while another runs"


def test_a_heavy_prompt_does_not_wait_for_others_to_end(device):
    device.generate([PROMPTS[1], PROMPTS[2]], max_new_tokens=20, policy=POLICIES["heavy"])
    assert all(any(part.handle == (1, 0) for part in parts) for parts, _ in device.costs[:3])


def test_cells_of_heavy_hitters(device):
    """As many as were ever used: a chunk needs cells beside those that are kept."""
    device.generate([PROMPTS[2], PROMPTS[1]], max_new_tokens=7, policy=POLICIES["heavy"])
    used, kept = {}, {}
    for part in (part for parts, _ in device.costs for part in parts):
        there = kept.get(part.handle, 0) + len(part.tokens)
        used[part.handle] = max(used.get(part.handle, 0), there)
        kept[part.handle] = min(there, 7)
        assert part.cells == used[part.handle]
    assert sorted(used.values()) == [7, 15]


# --- Choices ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("choice", [{"temperature": 0.9}, {"temperature": 1.2, "top_k": 5},
                                    {"temperature": 1.0, "top_k": 30, "top_p": 0.8}])
def test_choices_depend_on_seed_and_prompt_only(device, choice):
    made = [tokens(device.generate(PROMPTS, max_new_tokens=8, seed=3, batch=batch, **choice)) for batch in (1, 3, None)]
    assert made[0] == made[1] == made[2]
    assert tokens(device.generate(PROMPTS[:2], max_new_tokens=8, seed=3, **choice)) == made[0][:2]
    assert tokens(device.generate(PROMPTS, max_new_tokens=8, seed=4, **choice)) != made[0]
    twice = tokens(device.generate([PROMPTS[0]] * 2, max_new_tokens=8, seed=3, **choice))
    assert twice[0] != twice[1], "continuations of one prompt are drawn apart"


def test_the_largest_logits_decide_like_all():
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = rng.integers(-20, 20, 40)
        order = np.argsort(-values, kind="stable")[:8]
        few = Logits(values[order], order)
        for sampling in (Sampling(), Sampling(0.7, 8, seed=2), Sampling(0.7, 3, 0.6, seed=2)):
            assert sampling.largest_suffice
            assert Sampler(sampling, 0, 0.1)(few) == Sampler(sampling, 0, 0.1)(Logits(values))
    assert not Sampling(0.5).largest_suffice and not Sampling(0.5, 9).largest_suffice


def test_choices_follow_the_probabilities():
    logits = Logits(np.array([0, 20, 10, -500]))
    for sampling, wanted in ((Sampling(1.0), [1, np.e ** 2, np.e, 0]), (Sampling(2.0), [1, np.e, np.e ** 0.5, 0]),
                             (Sampling(1.0, top_k=2), [0, np.e ** 2, np.e, 0]),
                             (Sampling(1.0, top_p=0.6), [0, 1, 0, 0]), (Sampling(1.0, top_p=0.7), [0, np.e, 1, 0])):
        sampler = Sampler(sampling, 0, 0.1)
        counts = np.bincount([sampler(logits) for _ in range(4000)], minlength=4) / 4000
        np.testing.assert_allclose(counts, np.array(wanted) / sum(wanted), atol=0.03)


# --- Ends ---------------------------------------------------------------------------------------------

def test_length_and_stop(device):
    whole = device.generate(PROMPTS[3], max_new_tokens=10)
    assert whole.finished == "length" and len(whole.tokens) == 10
    stop = whole.tokens[4]
    made = device.generate(PROMPTS[3], max_new_tokens=10, stop=stop)
    assert made.finished == "stop" and made.tokens == whole.tokens[:whole.tokens.index(stop) + 1]


def test_the_context_becomes_full(device):
    made = device.generate([[1] * 36, [1] * 40, [2]], max_new_tokens=50)
    assert [(one.finished, len(one.tokens)) for one in made] == [("context", 5), ("context", 1), ("context", 40)]


def test_stream_and_text(device):
    class Bytes:
        def decode(self, ids):
            return bytes(ids).decode("utf-8", "replace")

    device.tokenizer, seen = Bytes(), {0: [], 1: []}
    # In the place of the model: a letter, the three bytes of one character, and two of them with no third.
    said = iter([*"a€".encode(), *"€".encode()[:2]])

    class Says(GoldenEngine):
        def step(self, parts, wants_largest=False):
            _, cost = super().step(parts, wants_largest)
            token = next(said)
            return [Logits(np.array([5]), np.array([token])) for _ in parts], cost

    device.engine = Says(CONFIG, device.decoder)
    device.engine._decoder._check = lambda sequences, ids: (sequences, np.minimum(ids, 49), np.arange(
        sequences.length, sequences.length + ids.shape[1]))
    made = device.generate([[1], [2]], max_new_tokens=6, stream=lambda number, token, text: seen[number].append(text))
    for number in (0, 1):
        assert seen[number] == ["a", "", "", "€", "", "\ufffd"]
        assert made[number].text == "".join(seen[number])


# --- Errors -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("prompt, options, message", [
    ([[]], {}, "prompt 0 has 0 tokens: allowed is 1 to 40"),
    ([[1], [1] * 41], {}, "prompt 1 has 41 tokens"),
    ([1, 50], {}, "prompt 0 holds token 50: allowed is 0 to 49"),
    ([3, -1], {}, "prompt 0 holds token -1"),
    ("In the beginning", {}, "the model has no tokenizer"),
    ([1], {"max_new_tokens": 0}, "max_new_tokens is 0"),
    ([1], {"batch": 0}, "batch is 0"),
    ([1], {"temperature": -1}, "temperature is -1"),
    ([1], {"top_p": 0}, "top_p is 0"),
    ([1], {"top_k": -1}, "top_k is -1"),
    ([1], {"policy": heavy(2, 2, 9)}, "chunks of 9 tokens: a step has at most 8"),
])
def test_wrong_requests_are_refused(device, prompt, options, message):
    with pytest.raises(ValueError, match=message):
        device.generate(prompt, **options)
    assert device.generate([1], max_new_tokens=1).tokens, "the device goes on"


def test_without_a_model():
    with pytest.raises(RuntimeError, match="no model is loaded"):
        Device("golden", config=CONFIG).generate([1])
    with pytest.raises(ValueError, match="cache is 'int4'"):
        Device("golden", config=CONFIG).load(QuantizedLM(random_decoder(SIZES, 5), OVP4, ()), "int4")


def test_unknown_backend(lm):
    with pytest.raises(ValueError, match="backend is 'vcs': allowed are 'golden', 'verilator', 'icarus'"):
        Device("vcs", config=CONFIG).load(lm)


def test_prompts_wait_for_blocks_and_too_long_ones_are_refused(device):
    device.engine.blocks = 5
    with pytest.raises(ValueError, match="prompt 1 needs 5 blocks of the cache: the pool has 4"):
        device.engine.blocks = 4
        device.generate([[1], [1] * 30], max_new_tokens=10)
    device.engine.blocks = 5
    whole = device.generate([[1] * 30, [2] * 30], max_new_tokens=10)
    assert max(len(parts) for parts, _ in device.costs) == 1
    assert whole[0].tokens == device.generate([1] * 30, max_new_tokens=10).tokens


def test_nothing_stays_open_when_a_caller_fails(device):
    def stream(number, token, text):
        raise KeyError("of the caller")

    with pytest.raises(KeyError):
        device.generate(PROMPTS, stream=stream)
    assert not device.engine._sequences


def test_a_failed_program_ends_the_device(device):
    class Fails(GoldenEngine):
        def step(self, parts, wants_largest=False):
            raise ProgramFailed("instruction 3 failed")

        def close_sequence(self, handle):
            raise AssertionError("nobody knows what the cache holds")

    device.engine = Fails(CONFIG, device.decoder)
    with pytest.raises(ProgramFailed, match="instruction 3"):
        device.generate([1])
    with pytest.raises(RuntimeError, match="no model is loaded"):
        device.generate([1])
