"""The committed quantized files of the default model, and what is written down about them."""

import json
from pathlib import Path

import numpy as np
import pytest
from olivine.config import PRESETS
from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat
from olivine_golden.decoder.forward import Decoder
from olivine_host.kjv.accuracy import RUNS
from olivine_host.kjv.paths import MODEL, QUANTIZED, quantized_file
from olivine_host.kjv.quantize import LOG, RECIPES
from olivine_host.lm.compare import stage_errors
from olivine_host.lm.evaluate import Windows, float_logits, integer_logits, score
from olivine_host.lm.file import load
from olivine_host.lm.gpt2 import from_folder, read_tokenizer
from tokenizers import Tokenizer

from tests.decoder.naive import NaiveSequence

ACCURACY = Path(__file__).parents[2] / "docs" / "figures" / "accuracy.json"
LANES = PRESETS["edge"].lanes


@pytest.fixture(scope="module")
def model():
    return from_folder(MODEL)


@pytest.fixture(scope="module")
def ids():
    text = (MODEL / "held_out.txt").read_text(encoding="utf-8")
    return np.array(Tokenizer.from_str(read_tokenizer(MODEL)).encode(text).ids)


@pytest.fixture(scope="module")
def float_score(model, ids):
    return score(float_logits(model), Windows(ids, 256, limit=12))


# Twelve windows of 509; the whole text's ratios are in the record.
@pytest.mark.parametrize("name, most", [("int8", 1.005), ("ovp4", 1.03), ("ovp4-tuned", 1.025)])
def test_files_predict_the_held_out_text(name, most, ids, float_score):
    quantized = load(quantized_file(name))
    found = score(integer_logits(Decoder(quantized.decoder, LANES), quantized.decoder.logits_scale),
                  Windows(ids, 256, limit=12))
    assert 0.98 < found.perplexity / float_score.perplexity < most


def test_formats_and_sizes():
    for name in RECIPES:
        quantized = load(quantized_file(name))
        assert quantized.tokenizer == read_tokenizer(MODEL) and quantized.info["name"] == name
        assert quantized.decoder.head.format is LaneFormat.INT8
        formats = {(weights.format, weights.group) for layer in quantized.decoder.layers
                   for weights in (layer.qkv, layer.proj, layer.up, layer.down)}
        if name == "int8":
            assert formats == {(LaneFormat.INT8, Group.CHANNEL)}
        else:
            assert formats <= {(LaneFormat.OVP4_INT, Group.G64), (LaneFormat.OVP4_FLINT, Group.G64)}
    assert sum(path.stat().st_size for path in QUANTIZED.iterdir()) < 4 << 20


def test_every_stage_of_int8_is_near_float(model, ids):
    errors = stage_errors(model, load(quantized_file("int8")).decoder, LANES, ids[:512].reshape(2, 256))
    assert max(errors.values()) < 0.04
    # The residual stream's step of 2**-10 is the largest error before the cache's 8 bits come in.
    assert errors[-1, "embedding"] < 0.006 and errors[0, "qkv"] < 0.007


@pytest.mark.parametrize("name, cache", [("int8", "ovp4"), ("ovp4-tuned", "int8")])
def test_bits_are_those_of_the_single_jobs(name, cache, ids):
    decoder = load(quantized_file(name)).with_cache(cache)
    logits = Decoder(decoder, LANES).forward(ids[None, :100])
    naive = NaiveSequence(decoder, LANES)
    np.testing.assert_array_equal(logits[0], np.concatenate([naive.step(ids[at:at + 20]) for at in range(0, 100, 20)]))


def test_record():
    record = json.loads(ACCURACY.read_text())
    assert [run["command"] for run in record["runs"]] == [f"olivine eval {options} --json" for options, _ in RUNS]
    for run in record["runs"]:
        assert run["ratio"] == pytest.approx(run["integers"]["perplexity"] / run["float"]["perplexity"], abs=2e-5)
        assert run["target"] is None or run["ratio"] <= run["target"]


def test_log_of_fine_tuning():
    record = json.loads((QUANTIZED / LOG).read_text())
    losses = [entry["nats_per_token"] for entry in record["log"]]
    assert record["log"][-1]["step"] == record["settings"]["steps"] == 800
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
