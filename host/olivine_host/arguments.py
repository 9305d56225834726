"""Checks of what users pass: the errors name the argument, what it is and what it must be."""

import numpy as np
from olivine.config import AcceleratorConfig, load_config

from .backends import get_backend

__all__ = ["real_array", "choice", "positive", "chosen_backend"]


def real_array(name, value):
    """``value`` as float64, checked: real, finite, not empty."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {array.dtype}: must be real numbers")
    if not array.size:
        raise ValueError(f"{name} has shape {array.shape}: must not be empty")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        raise ValueError(f"{name} holds {array[place]} at {place}: must be finite")
    return array


def choice(name, value, allowed):
    """What a dict of allowed values has for ``value``."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}: allowed are {', '.join(map(repr, allowed))}")
    return allowed[value]


def positive(name, value):
    """``value`` as a float above 0."""
    if not np.isfinite(value) or value <= 0:
        # A plain number, not numpy's way to write one.
        value = value.item() if isinstance(value, np.generic) else value
        raise ValueError(f"{name} is {value!r}: must be a positive number")
    return float(value)


def chosen_backend(backend, preset, config):
    """A backend by name, for a configuration or else a preset; or the one that was passed."""
    if not isinstance(backend, str):
        return backend
    if config is not None and not isinstance(config, AcceleratorConfig):
        raise TypeError(f"config is {config!r}: must be an AcceleratorConfig")
    return get_backend(backend, load_config(preset) if config is None else config)
