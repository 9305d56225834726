"""The quantized model's file: a round trip, no torch, and clear errors."""

import json
import subprocess
import sys
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from olivine_golden.decoder.forward import Decoder
from olivine_host.lm import file
from olivine_host.lm.gpt2 import from_transformers
from olivine_host.lm.model import CACHES
from olivine_host.lm.quantize import quantize, tensor_names
from olivine_host.lm.recipe import LMRecipe
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.host.lm_models import tiny_gpt2

IDS = np.random.default_rng(3).integers(0, 60, (4, 24))


@pytest.fixture(scope="module")
def quantized():
    # Odd sizes: an odd reduction has a last code without a partner.
    model = from_transformers(tiny_gpt2(n_embd=30, n_head=3, n_inner=67))
    formats = {name: ("ovp4", "int8", "int4")[sum(map(ord, name[1])) % 3] for name in tensor_names(model.config)}
    return quantize(model, IDS, LMRecipe("ovp4", "64", "nearest"), formats=formats, tokenizer='{"text": "schön"}')


@pytest.fixture
def path(quantized, tmp_path):
    file.save(tmp_path / "new" / "model.safetensors", quantized)
    return tmp_path / "new" / "model.safetensors"


def same(a, b):
    """Equal in every array and number, however deep."""
    assert type(a) is type(b), (a, b)
    if is_dataclass(a):
        for field in fields(a):
            same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for mine, theirs in zip(a, b):
            same(mine, theirs)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


def test_round_trip(quantized, path):
    loaded = file.load(path)
    same(loaded, quantized)
    for cache in CACHES:
        np.testing.assert_array_equal(Decoder(loaded.with_cache(cache), 8).forward(IDS),
                                      Decoder(quantized.with_cache(cache), 8).forward(IDS))
    assert file.is_quantized(path) and path.parent.iterdir().__next__() == path
    assert path.stat().st_mode & 0o044 == 0o044


def test_loading_and_running_need_no_torch(path):
    script = ("import sys, numpy as np\n"
              "from olivine_host.lm.file import load\n"
              "from olivine_host.lm.gpt2 import from_folder\n"
              "from olivine_host.lm.evaluate import score\n"
              "from olivine_golden.decoder.forward import Decoder\n"
              "Decoder(load(sys.argv[1]).decoder, 8).forward(np.zeros((1, 3), int))\n"
              "assert 'torch' not in sys.modules and 'transformers' not in sys.modules, 'torch was imported'\n")
    subprocess.run([sys.executable, "-c", script, path], check=True)


def rewrite(path, change=lambda tensors, content: None, **metadata):
    """Change a file's tensors, its JSON, its metadata."""
    with safe_open(path, framework="np") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}
        old = opened.metadata()
    content = json.loads(old["content"])
    change(tensors, content)
    save_file(tensors, path, old | {"content": json.dumps(content)} | metadata)
    return path


def replaced(name, change):
    def apply(tensors, content):
        tensors[name] = np.ascontiguousarray(change(tensors[name]))
    return apply


@pytest.mark.parametrize("metadata, why", [
    ({"version": "2"}, "version 2: this program reads version 1"),
    ({"version": "?"}, "version ?"),
    ({"format": "pt"}, "no quantized language model: its format is 'pt'"),
    ({"content": "{"}, "damaged"),
    ({"content": "{}"}, "damaged: config is missing"),
])
def test_metadata_that_is_wrong(path, metadata, why):
    with pytest.raises(ValueError, match=why.replace("?", r"\?")) as error:
        file.load(rewrite(path, **metadata))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["token", "position", "norm.gamma", "head.codes", "layers.1.down.mult",
                                  "layers.0.norm2.beta", "layers.1.attention.o_shift",
                                  "layers.0.attention_ovp4.key_mult"])
def test_missing_tensor_is_named(path, name):
    with pytest.raises(ValueError, match=f"tensor {name} is missing"):
        file.load(rewrite(path, lambda tensors, content: tensors.pop(name)))


@pytest.mark.parametrize("name, change, why", [
    ("token", lambda x: x[:-1], r"token\.table is int16\(59, 30\): must be int16\(60, 30\)"),
    ("token", lambda x: x.astype(np.int32), r"token\.table is int32"),
    ("norm.gamma", lambda x: x[:7], r"norm\.gamma"),
    ("layers.1.up.codes", lambda x: x[:-1], r"layer(s\.1\.| 1: )up"),
    ("layers.0.qkv.bias", lambda x: x[:-1], r"layers\.0\.qkv: bias"),
    ("layers.0.proj.shift", lambda x: x + 64, r"layers\.0\.proj.*shift"),
    ("layers.1.attention.score_mult", lambda x: x[:1], "layer 1: score_mult"),
    ("layers.1.attention_ovp4.value_shift", lambda x: x + 64, "value"),
])
def test_wrong_shape_or_value_is_named(path, name, change, why):
    with pytest.raises(ValueError, match=why) as error:
        file.load(rewrite(path, replaced(name, change)))
    assert "damaged" in str(error.value)


@pytest.mark.parametrize("change", [
    lambda content: content["layers"].pop(), lambda content: content["config"].pop("heads"),
    lambda content: content["config"].update(heads=4), lambda content: content["config"].update(function="TANH"),
    lambda content: content["layers"][0].pop("up"), lambda content: content.update(token=[70000, 3]),
    lambda content: content["layers"][1].update(activation=[7, 40000, 3]), lambda content: content.update(head=3),
    lambda content: content["config"].update(extra=1), lambda content: content.update(cache_formats=["INT4", "INT8"]),
])
def test_content_that_is_wrong(path, change):
    with pytest.raises(ValueError, match="damaged"):
        file.load(rewrite(path, lambda tensors, content: change(content)))


def test_what_is_no_file_of_ours(tmp_path):
    (tmp_path / "text").write_text("In the beginning")
    save_file({"x": np.zeros(3)}, tmp_path / "other.safetensors")
    for name, why in (("nowhere", "no such file"), ("text", "cannot be read"),
                      ("other.safetensors", "its format is None")):
        assert not file.is_quantized(tmp_path / name)
        with pytest.raises(ValueError, match=why):
            file.load(tmp_path / name)
