"""Import of GPT-2: the same logits as transformers, and every refusal by name."""

import json

import numpy as np
import pytest
import torch
from olivine_host.lm.gpt2 import FUNCTIONS, from_folder, from_transformers, read_tokenizer
from safetensors.numpy import load_file, save_file
from transformers import GPT2Config, GPT2Model

from tests.host.lm_models import change_config, tiny_gpt2, write_folder

SHAPES = [
    {},
    {"n_embd": 36, "n_head": 3, "n_layer": 1, "n_inner": 50},
    {"n_embd": 20, "n_head": 1, "n_layer": 3, "n_positions": 7, "layer_norm_epsilon": 1e-3},
    {"scale_attn_weights": False},
    {"tie_word_embeddings": False},
    *({"activation_function": name} for name in FUNCTIONS),
]


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.from_numpy(ids)).logits.numpy()


@pytest.mark.parametrize("fields", SHAPES, ids=str)
def test_logits_are_those_of_transformers(fields):
    model = tiny_gpt2(**fields)
    mine = from_transformers(model)
    ids = np.random.default_rng(1).integers(0, 60, (3, model.config.n_positions))
    wanted = logits_of(model, ids)
    assert np.abs(wanted).max() > 2
    np.testing.assert_allclose(mine.forward(ids), wanted, atol=2e-4)


def test_folder_and_object_give_the_same(tmp_path):
    model = write_folder(tmp_path)
    ids = np.random.default_rng(2).integers(0, model.config.vocab_size, (2, 24))
    np.testing.assert_array_equal(from_folder(tmp_path).forward(ids), from_transformers(model).forward(ids))
    assert json.loads(read_tokenizer(tmp_path))["model"]["type"] == "BPE"


def test_model_without_a_head_of_its_own():
    torch.manual_seed(1)
    model = GPT2Model(GPT2Config(vocab_size=30, n_positions=8, n_embd=16, n_layer=1, n_head=2))
    mine = from_transformers(model)
    assert mine.head.weight is mine.token


@pytest.mark.parametrize("field, value", [
    ("scale_attn_by_inverse_layer_idx", True), ("reorder_and_upcast_attn", True), ("add_cross_attention", True),
    ("is_encoder_decoder", True), ("pruned_heads", {"0": [1]}), ("quantization_config", {"bits": 4}),
    ("activation_function", "gelu_fast"), ("model_type", "gptj"), ("n_head", 3), ("n_head", 0), ("n_layer", None),
    ("n_positions", -4), ("vocab_size", "many"), ("n_embd", True), ("n_inner", 0), ("n_inner", 1.5),
    ("layer_norm_epsilon", 0), ("layer_norm_epsilon", "small"), ("n_embd", 8192),
])
def test_unsupported_field_is_named(tmp_path, field, value):
    write_folder(tmp_path)
    change_config(tmp_path, **{field: value})
    with pytest.raises(ValueError, match=field):
        from_folder(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file_is_named(tmp_path, name):
    write_folder(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=name):
        from_folder(tmp_path)


def test_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        read_tokenizer(tmp_path)


def damaged(tmp_path, change):
    write_folder(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return tmp_path


def cut(tensors):
    tensors["transformer.h.1.mlp.c_fc.weight"] = tensors["transformer.h.1.mlp.c_fc.weight"][:, :-1].copy()


def spoil(tensors):
    tensors["transformer.ln_f.bias"][3] = np.nan


@pytest.mark.parametrize("change, why", [
    (lambda tensors: tensors.pop("transformer.h.0.ln_1.bias"), r"h\.0\.ln_1\.bias is missing"),
    (cut, r"h\.1\.mlp\.c_fc\.weight has shape \(32, 127\): must be \(32, 128\)"),
    (spoil, r"ln_f\.bias has a value that is not finite"),
    (lambda tensors: tensors.update({"score.weight": np.zeros(3, np.float32)}), r"score\.weight is of no GPT-2"),
])
def test_wrong_tensor_is_named(tmp_path, change, why):
    with pytest.raises(ValueError, match=why):
        from_folder(damaged(tmp_path, change))


def test_old_files_masks_do_not_matter(tmp_path):
    folder = damaged(tmp_path, lambda tensors: tensors.update(
        {"transformer.h.0.attn.bias": np.zeros((1, 1, 24, 24), np.float32)}))
    assert from_folder(folder).config.layers == 2


def test_damaged_file(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="cannot be read"):
        from_folder(tmp_path)
