"""The accelerator as a user meets it: load a model, generate text."""

from .device import Completion, Device

__all__ = ["Completion", "Device"]
