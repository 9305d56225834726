"""Where the default model's files are; imports nothing that is slow."""

from pathlib import Path

__all__ = ["MODEL", "QUANTIZED", "quantized_file"]

MODEL = Path(__file__).parent / "model"
"""The float model: see `load`."""

QUANTIZED = Path(__file__).parent / "quantized"


def quantized_file(name):
    """Of int8, ovp4, ovp4-tuned: the quantized model, as `olivine_host.lm.file` reads it."""
    return QUANTIZED / f"{name}.safetensors"
