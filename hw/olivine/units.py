"""The units that `olivine verilog --unit` and the lint tests know, by name.

Modules are imported only when their unit is built, so that a listing is quick.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Unit", "UNITS", "DEFAULT_UNIT", "build"]


@dataclass(frozen=True)
class Unit:
    """One unit.

    Parameters
    ----------
    where : str
        ``module:Class``, the module relative to this package.
    what : str
        One line for the listing.
    arguments : callable
        From a configuration to the constructor's keyword arguments.
    """

    where: str
    what: str
    arguments: Callable[[Any], dict]

    def build(self, config):
        """The component at the sizes of ``config``."""
        module, _, name = self.where.partition(":")
        return getattr(importlib.import_module(f".{module}", __package__), name)(**self.arguments(config))


UNITS = {
    "linear": Unit("linear.engine:LinearEngine", "linear layers from memory to memory, AXI4",
                   lambda config: {"config": config}),
}

DEFAULT_UNIT = "linear"
"""The largest unit there is."""


def build(name, config):
    """The unit called ``name`` for a configuration.

    Raises
    ------
    ValueError
        If there is no such unit.
    """
    if name not in UNITS:
        raise ValueError(f"unit is {name!r}: allowed are {', '.join(UNITS)}")
    return UNITS[name].build(config)
