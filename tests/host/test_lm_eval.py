"""Evaluation: every token is scored once, perplexities are those of torch, and `olivine eval` says them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine_golden.decoder.forward import Decoder
from olivine_golden.kv_sequence import heavy, window
from olivine_host.cli import olivine
from olivine_host.cli.eval import policy_of
from olivine_host.kjv.evaluate import evaluate
from olivine_host.lm.evaluate import Windows, float_logits, integer_logits, score
from olivine_host.lm.file import load, save
from olivine_host.lm.gpt2 import from_folder, from_transformers
from olivine_host.lm.quantize import quantize
from tokenizers import Tokenizer

from tests.host.lm_models import change_config, tiny_gpt2, tiny_text, write_folder


@pytest.mark.parametrize("length", [2, 5, 16, 17, 18, 24, 25, 26, 100, 101])
@pytest.mark.parametrize("context", [1, 3, 16])
def test_every_token_is_scored_once(length, context):
    ids = np.arange(length)
    scored = [token for part, first in Windows(ids, context).parts for token in part[first + 1:]]
    assert scored == list(range(1, length))
    assert all(len(part) <= context + 1 for part, _ in Windows(ids, context).parts)


def test_last_halves_only():
    parts = Windows(np.arange(60), 16, last=True).parts
    assert len(parts) > 3 and all(len(part) == 17 and first == 8 for part, first in parts)
    with pytest.raises(ValueError, match="a full window needs 17"):
        Windows(np.arange(12), 16, last=True)
    with pytest.raises(ValueError, match="nothing to score"):
        Windows(np.arange(1), 16)


def test_batches_keep_order_and_length():
    windows = Windows(np.arange(61), 16)
    batches = list(windows.batches(3))
    assert sum(len(ids) for ids, _ in batches) == len(windows.parts)
    assert [row[0] for ids, _ in batches for row in ids] == [part[0] for part, _ in windows.parts]
    assert len(Windows(np.arange(600), 16, limit=5).parts) == 5


def test_float_perplexity_is_that_of_torch(tmp_path):
    model = write_folder(tmp_path)
    tokenizer, text = Tokenizer.from_file(str(tmp_path / "tokenizer.json")), tiny_text(20)
    theirs = evaluate(model, tokenizer, text)
    mine = score(float_logits(from_folder(tmp_path)), Windows(tokenizer.encode(text).ids, 24), batch=5)
    assert mine.scored == theirs.tokens
    assert mine.perplexity == pytest.approx(theirs.perplexity, rel=1e-5)


def test_small_caches_are_those_of_the_decoder():
    model = from_transformers(tiny_gpt2())
    ids = np.random.default_rng(1).integers(0, 60, (6, 24))
    quantized = quantize(model, ids)
    decoder = Decoder(quantized.decoder, 8)
    near = integer_logits(decoder, 0.5, window(9))(ids)
    np.testing.assert_array_equal(near, decoder.forward(ids, window(9)) * np.float32(0.5))
    # The first 12 tokens in chunks of at most 5, then one by one.
    policy = heavy(4, 4, 5)
    sequences = decoder.open(6, policy)
    cuts = [0, 2, 7, 12, *range(13, 25)]
    steps = [decoder.step([(sequences, ids[:, first:end])])[0] for first, end in zip(cuts, cuts[1:])]
    np.testing.assert_array_equal(integer_logits(decoder, 0.5, policy)(ids),
                                  np.concatenate(steps, axis=1) * np.float32(0.5))


@pytest.mark.parametrize("text, wanted", [
    ("none", (0, 0, 0)), ("window:51", (51, 0, 0)), ("heavy:51", (0, 25, 25)), ("heavy:102", (0, 50, 51)),
    ("heavy:3", (0, 1, 1)),
])
def test_policies(text, wanted):
    policy = policy_of(text, PRESETS["edge"])
    assert (policy.window, policy.heavy, policy.recent) == wanted
    assert policy.chunk == (PRESETS["edge"].chunk_rows if text.startswith("heavy") else 0)


# The command.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    write_folder(path)
    (path / "calibration.txt").write_text(tiny_text(40))
    (path / "held_out.txt").write_text(tiny_text(12))
    return path


def run(*arguments):
    return CliRunner().invoke(olivine, ["eval", *map(str, arguments)])


def figures(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_folder_then_its_file(folder, tmp_path):
    path = tmp_path / "quantized.safetensors"
    options = "--model", folder, "--calibration", folder / "calibration.txt", "--preset", "tiny"
    first = figures(*options, "--save", path, "--stages")
    assert 0.9 < first["ratio"] < 1.1 and first["weight_bits"] == 8 and first["lanes"] == 8
    assert first["ratio"] == pytest.approx(first["integers"]["perplexity"] / first["float"]["perplexity"])
    assert first["stages"][0]["stage"] == "embedding" and first["stages"][-1]["stage"] == "head"
    again = figures("--model", path, "--float", folder, "--preset", "tiny")
    for name in ("float", "integers"):
        assert again[name]["perplexity"] == first[name]["perplexity"]
    alone = figures("--model", path, "--text", folder / "held_out.txt", "--preset", "tiny")
    assert alone["integers"]["perplexity"] == first["integers"]["perplexity"] and "ratio" not in alone
    # A page's size is part of the arithmetic; a small cache, and one of 4 bits, change more.
    others = [figures("--model", path, "--float", folder, *more)["integers"]["perplexity"] for more in (
        ("--preset", "tiny"), ("--preset", "ecp5"), ("--cache", "ovp4"), ("--eviction", "window:3"),
        ("--eviction", "heavy:4"))]
    assert len(set(others)) == 5 and others[0] == first["integers"]["perplexity"]


def test_table(folder, tmp_path):
    result = run("--model", folder, "--calibration", folder / "calibration.txt", "--windows", 3, "--stages",
                 "--format", "int4", "--group", "128", "--method", "nearest")
    assert result.exit_code == 0
    for part in ("float", "integers", "ratio", "tokens/s", "groups of 128", "relative error", "residual", "edge"):
        assert part in result.output


def test_mixed(folder):
    result = figures("--model", folder, "--calibration", folder / "calibration.txt", "--windows", 2,
                     "--format", "mixed", "--bits", 6, "--method", "nearest", "--group", "channel")
    assert 5 < result["weight_bits"] <= 8


def test_what_makes_no_sense(folder, tmp_path):
    save_at = tmp_path / "q.safetensors"
    calibration = "--calibration", folder / "calibration.txt"
    assert run("--model", folder, *calibration, "--save", save_at, "--windows", 1).exit_code == 0
    assert load(save_at).config.layers == 2
    for arguments, why in (
        (("--model", folder), "needs --calibration"),
        (("--model", folder, *calibration, "--float", folder), "--float means nothing for a folder"),
        (("--model", folder, *calibration, "--format", "ovp4-tuned"), "file of the default model"),
        (("--model", folder, *calibration, "--format", "mixed"), "bits"),
        (("--model", folder, *calibration, "--bits", "5"), "bits"),
        (("--model", save_at, "--format", "int8"), "--format means nothing for a quantized file"),
        (("--model", save_at), "name one with --text"),
        (("--model", folder / "config.json", "--text", folder / "config.json"), "cannot be read"),
        (("--format", "int4"), "no format int4"),
        (("--save", save_at), "--save means nothing for the default model"),
        (("--model", save_at, "--eviction", "newest"), "none, window:N, heavy:N"),
        (("--model", save_at, "--eviction", "window:0"), "1 key or more"),
        (("--model", save_at, "--eviction", "heavy:2"), "allowed is 3 to"),
        (("--model", save_at, "--eviction", "heavy:4000"), "allowed is 3 to"),
        (("--model", tmp_path / "nothing"), "does not exist"),
    ):
        result = run(*arguments)
        assert result.exit_code and why in result.output.replace("\n", " "), (arguments, result.output)


def test_unsupported_model_is_one_line(folder, tmp_path):
    write_folder(tmp_path / "other")
    change_config(tmp_path / "other", reorder_and_upcast_attn=True)
    result = run("--model", tmp_path / "other", "--calibration", folder / "calibration.txt")
    assert result.exit_code == 2 and "reorder_and_upcast_attn" in result.output and "Traceback" not in result.output


def test_vocabulary_that_is_too_small(folder, tmp_path):
    model = from_transformers(tiny_gpt2())
    quantized = quantize(model, np.zeros((1, 24), int), tokenizer=(folder / "tokenizer.json").read_text())
    save(tmp_path / "small.safetensors", quantized)
    result = run("--model", tmp_path / "small.safetensors", "--text", folder / "held_out.txt")
    assert result.exit_code == 2 and "vocabulary has 60" in result.output
