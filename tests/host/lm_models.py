"""Small GPT-2 models for tests: random, but with weights large enough that their text has something to predict."""

import json
import random

import torch
from olivine_host.kjv.tokenizer import train_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

# Tests run one process a core; threads on top of that only get in each other's way.
torch.set_num_threads(1)


def tiny_gpt2(seed=1, **fields):
    """A random `GPT2LMHeadModel`; ``fields`` change its configuration."""
    torch.manual_seed(seed)
    fields = {"vocab_size": 60, "n_positions": 24, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": None,
              "eos_token_id": None} | fields
    model = GPT2LMHeadModel(GPT2Config(**fields)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                gain = 1.0 if name.endswith(("wte.weight", "wpe.weight")) else parameter.shape[0] ** -0.5
                parameter.normal_(0, gain)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2)
            else:
                parameter.uniform_(0.5, 1.5)
    return model


def tiny_text(verses=80):
    """Lines of made-up words."""
    source = random.Random(1)
    words = ["".join(source.choices("abcdefgh", k=source.randint(1, 6))) for _ in range(60)]
    return "".join(" ".join(source.choices(words, k=8)) + ".\n" for _ in range(verses))


def write_folder(folder, text=None, **fields):
    """A model's folder with a tokenizer of `tiny_text`; returns the model."""
    text = text or tiny_text()
    tokenizer = train_tokenizer(text, 280)
    model = tiny_gpt2(vocab_size=tokenizer.get_vocab_size(), **fields)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "held_out.txt").write_text(text)
    return model


def change_config(folder, **fields):
    """Rewrite fields of a folder's ``config.json``."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
