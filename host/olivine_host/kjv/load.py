"""The trained model, from the files beside this one."""

import json
from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from .paths import MODEL

__all__ = ["FOLDER", "held_out_text", "load", "load_default", "record"]

FOLDER = MODEL


def load(folder):
    """(model, tokenizer) of a folder: a `GPT2LMHeadModel` in float, for inference, and a `Tokenizer`."""
    folder = Path(folder)
    model = GPT2LMHeadModel(GPT2Config.from_json_file(folder / "config.json"))
    weights = load_file(folder / "model.safetensors")
    # The file has tied weights once.
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    model.load_state_dict(weights)
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def load_default():
    """(model, tokenizer) of the package."""
    return load(FOLDER)


def held_out_text(folder=FOLDER):
    """The text that neither model nor tokenizer was trained on."""
    return (Path(folder) / "held_out.txt").read_text(encoding="utf-8")


def record(folder=FOLDER):
    """What was written down about the training: settings, losses, figures on the held-out text."""
    return json.loads((Path(folder) / "training.json").read_text())
