"""The default language model: its text, tokenizer and training on a small scale, and the trained model's files."""

import math
import random
import shutil
from dataclasses import replace

import pytest
import torch
from olivine_host.kjv import load as loading
from olivine_host.kjv import train
from olivine_host.kjv.evaluate import evaluate
from olivine_host.kjv.text import digest, split, verses
from olivine_host.kjv.tokenizer import VOCABULARY, train_tokenizer
from olivine_host.kjv.training import Settings, Training
from rich.console import Console
from torch.nn.functional import cross_entropy

# Tests run one process a core; threads on top of that only get in each other's way.
torch.set_num_threads(1)

TINY = Settings(width=16, heads=2, layers=2, context=16, steps=6, batch=2, warmup=2, decay=4, threads=1)


@pytest.fixture(scope="module")
def tiny_text():
    source = random.Random(1)
    words = ["".join(source.choices("abcdefgh", k=source.randint(1, 6))) for _ in range(60)]
    return "".join(" ".join(source.choices(words, k=8)) + ".\n" for _ in range(60))


@pytest.fixture(scope="module")
def tiny_tokenizer(tiny_text):
    return train_tokenizer(tiny_text, 300)


@pytest.fixture
def begin(tiny_text, tiny_tokenizer):
    """Makes a `Training` of the tiny text."""
    ids = torch.tensor(tiny_tokenizer.encode(tiny_text).ids)
    return lambda settings=TINY: Training(settings, ids, tiny_tokenizer.get_vocab_size())


@pytest.fixture(scope="module")
def committed():
    """(model, tokenizer, held-out text, record) of the package."""
    if not (loading.FOLDER / "training.json").exists():
        pytest.skip("there is no trained model in the package: run python -m olivine_host.kjv.train")
    return *loading.load_default(), loading.held_out_text(), loading.record()


def quiet():
    return Console(quiet=True)


def equal_states(a, b):
    return all(torch.equal(mine, theirs) for mine, theirs in
               zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True))


# Text

def test_every_twentieth_block_of_fifty_verses_is_held_out():
    names = [f"verse {number}" for number in range(1_380)]
    training, held_out = (part.splitlines() for part in split(names))
    assert held_out == names[350:400] + names[1350:1380]
    assert training == names[:350] + names[400:1350]


def test_verses_are_lines_without_their_numbers(tmp_path, monkeypatch):
    program = tmp_path / "bible"
    program.write_text("#!/bin/sh\necho 'Ge1:1 In the beginning God'\necho 'Ge1:2 And the earth'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert verses() == ["In the beginning God", "And the earth"]
    program.write_text("#!/bin/sh\necho 'no data' >&2\n")
    with pytest.raises(RuntimeError, match="no data"):
        verses()


def test_missing_program_names_the_packages(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="bible-kjv and bible-kjv-text"):
        verses()


# Tokenizer

def test_tokenizer_gives_every_text_back(tiny_text, tiny_tokenizer):
    for text in (tiny_text, "", " two  spaces\n\nand 漢字, é\t!", "".join(map(chr, range(256)))):
        assert tiny_tokenizer.decode(tiny_tokenizer.encode(text).ids) == text
    assert tiny_tokenizer.get_vocab_size() == 300
    assert len(tiny_tokenizer.encode(tiny_text).ids) < 0.6 * len(tiny_text)


def test_tokenizer_is_trained_reproducibly(tiny_text, tiny_tokenizer):
    assert train_tokenizer(tiny_text, 300).to_str() == tiny_tokenizer.to_str()


# Training

def test_rate_rises_holds_and_falls():
    settings = Settings(steps=1_000, warmup=100, decay=600, rate=1.0, final=0.1)
    rates = [settings.rate_at(step) for step in range(1_001)]
    assert rates[0] == 0.01 and rates[49] == 0.5
    assert set(rates[99:401]) == {1.0}
    assert all(a > b for a, b in zip(rates[400:], rates[401:]))
    assert rates[700] == pytest.approx(0.55) and rates[1_000] == pytest.approx(0.1)


def test_an_epoch_cuts_the_text_into_pieces(begin):
    training = begin(replace(TINY, batch=1))
    pieces = (len(training.ids) - 1) // TINY.context - 1
    windows = training.ids.unfold(0, TINY.context + 1, 1)
    offsets = []
    for epoch in range(3):
        epoch_rows = [training.batch(epoch * pieces + number)[0] for number in range(pieces)]
        places = sorted(int((windows == row).all(1).nonzero()[0]) for row in epoch_rows)
        assert places == list(range(places[0], places[0] + pieces * TINY.context, TINY.context))
        offsets.append(places[0])
    assert len(set(offsets)) > 1


def test_resumed_training_is_equal_to_uninterrupted(begin, tmp_path):
    whole, first, second = begin(), begin(), begin()
    whole.advance()
    whole.advance()
    first.advance()
    first.save(tmp_path / "state.pt")
    torch.rand(3)
    second.resume(tmp_path / "state.pt")
    assert second.step == 1 and not equal_states(second, whole)
    second.advance()
    assert second.losses == whole.losses and equal_states(second, whole)


def test_training_lowers_the_loss(begin):
    training = begin(replace(TINY, steps=60, decay=30, rate=2e-2))
    for _ in range(60):
        training.advance()
    assert sum(training.losses[-10:]) < 0.8 * sum(training.losses[:10])


def test_too_short_a_text_is_refused(begin):
    with pytest.raises(ValueError, match="too few"):
        begin(replace(TINY, context=4_096))


def test_interrupted_run_goes_on_from_its_checkpoint(begin, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT", 1)
    whole = begin()
    train.run(whole, tmp_path / "whole", quiet())

    for stop in (1, 4):
        broken = begin()
        advance = broken.advance

        def fails(broken=broken, advance=advance, stop=stop):
            if broken.step == stop:
                raise KeyboardInterrupt
            advance()

        broken.advance = fails
        with pytest.raises(KeyboardInterrupt):
            train.run(broken, tmp_path / "broken", quiet())
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == ["hold.pt", "last.pt"]
    resumed = begin()
    train.run(resumed, tmp_path / "broken", quiet())
    assert resumed.losses == whole.losses and equal_states(resumed, whole)


def test_states_of_other_settings_are_refused(begin, tmp_path):
    training = begin()
    training.advance()
    training.save(tmp_path / "hold.pt")
    with pytest.raises(ValueError, match="other rate"):
        begin(replace(TINY, rate=1e-3)).resume(tmp_path / "hold.pt")
    # The rate holds till then, however many steps follow.
    longer = begin(replace(TINY, steps=9, decay=3))
    longer.resume(tmp_path / "hold.pt")
    assert longer.step == 1
    for _ in range(2):
        training.advance()
    training.save(tmp_path / "last.pt")
    with pytest.raises(ValueError, match="other decay, steps"):
        begin(replace(TINY, steps=9, decay=3)).resume(tmp_path / "last.pt")


def test_written_model_is_the_trained_one(begin, tiny_text, tiny_tokenizer, tmp_path):
    training = begin()
    train.run(training, tmp_path / "states", quiet())
    train.write(tmp_path / "model", training, tiny_tokenizer, tiny_text, tiny_text[:400])
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json", "held_out.txt", "model.safetensors", "tokenizer.json", "training.json"]
    model, tokenizer = loading.load(tmp_path / "model")
    assert model.config.activation_function == "gelu_new"
    assert tokenizer.to_str() == tiny_tokenizer.to_str()
    assert loading.held_out_text(tmp_path / "model") == tiny_text[:400]
    ids = training.batch(0)[:, :-1]
    with torch.no_grad():
        assert torch.allclose(model(input_ids=ids).logits, training.model.eval()(input_ids=ids).logits, atol=1e-5)


# Evaluation

@pytest.mark.parametrize("stride", [3, 8, 16])
@pytest.mark.parametrize("characters", [2, 36, 120])
def test_every_token_but_the_first_is_scored_once(begin, tiny_text, tiny_tokenizer, stride, characters):
    model = begin().model.eval()
    text = tiny_text[:characters]
    ids = torch.tensor(tiny_tokenizer.encode(text).ids)
    nats = 0.0
    with torch.no_grad():
        for place in range(1, len(ids)):
            # The first window that reaches this token.
            start = max(0, -(-(place - TINY.context) // stride)) * stride
            logits = model(input_ids=ids[None, start:place]).logits[0, -1]
            nats += float(cross_entropy(logits, ids[place]))
    score = evaluate(model, tiny_tokenizer, text, stride)
    assert score.tokens == len(ids) - 1
    assert score.characters == characters - len(tiny_tokenizer.decode(ids[:1].tolist()))
    assert score.nats == pytest.approx(nats, rel=1e-5)
    assert score.bits_per_character == pytest.approx(nats / math.log(2) / score.characters)
    assert score.perplexity == pytest.approx(math.exp(nats / score.tokens))


def test_first_windows_are_the_beginning_of_the_text(begin, tiny_text, tiny_tokenizer):
    model = begin().model.eval()
    score = evaluate(model, tiny_tokenizer, tiny_text, 8, windows=20)
    assert score.tokens == 16 + 19 * 8
    beginning = tiny_tokenizer.decode(tiny_tokenizer.encode(tiny_text).ids[:score.tokens + 1])
    assert evaluate(model, tiny_tokenizer, beginning, 8).nats == pytest.approx(score.nats)


def test_nothing_to_score_is_refused(begin, tiny_tokenizer):
    with pytest.raises(ValueError, match="nothing to score"):
        evaluate(begin().model, tiny_tokenizer, "")
    with pytest.raises(ValueError, match=r"stride 17 is not in 1\.\.16"):
        evaluate(begin().model, tiny_tokenizer, "abc abc", 17)


# The trained model

def test_default_model_is_the_one_described(committed):
    model, tokenizer, _, record = committed
    config = model.config
    assert (config.n_embd, config.n_head, config.n_layer, config.n_positions) == (128, 2, 4, 256)
    assert config.vocab_size == tokenizer.get_vocab_size() == VOCABULARY
    assert model.num_parameters() == record["parameters"] == 957_184
    assert model.lm_head.weight is model.transformer.wte.weight
    assert not model.training


def test_held_out_text_is_the_recorded_one(committed):
    _, tokenizer, text, record = committed
    assert digest(text) == record["held_out"]["sha256"]
    assert len(tokenizer.encode(text).ids) == record["held_out"]["tokens"] + 1
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_default_model_predicts_as_recorded(committed):
    model, tokenizer, text, record = committed
    wanted = record["held_out"]["first_windows"]
    score = evaluate(model, tokenizer, text, record["held_out"]["stride"], wanted["windows"])
    assert wanted["windows"] == 20 and record["held_out"]["stride"] == 128
    assert abs(score.bits_per_character - wanted["bits_per_character"]) < 1e-3


def test_text_of_the_packages_is_the_recorded_one(committed):
    if shutil.which("bible") is None:
        pytest.skip("the program `bible` of the Debian package bible-kjv is not installed")
    _, tokenizer, text, record = committed
    training, held_out = split(verses())
    assert digest(training) == record["training_text"]["sha256"]
    assert held_out == text
    assert train_tokenizer(training).to_str() == tokenizer.to_str()
