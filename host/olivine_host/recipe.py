"""How a model is quantized: a format, how weights share scales, and how they are rounded."""

from dataclasses import dataclass

from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat

__all__ = ["FORMATS", "GROUPS", "METHODS", "Recipe"]

FORMATS = {"int8": LaneFormat.INT8, "ovp4": "auto", "int4": LaneFormat.INT4}
"""Weight formats by name; ovp4 takes the better of its int and flint types, tensor by tensor."""

GROUPS = {"channel": Group.CHANNEL, "64": Group.G64, "128": Group.G128}
"""Steps that share a scale, by name."""

METHODS = ("nearest", "gptq")
"""Rounding: to the nearest code, or compensating each pair's error in those still to be rounded."""


@dataclass(frozen=True)
class Recipe:
    """Names of a format, a group and a method.

    A group or method of None takes what the format needs: int8 is accurate enough with one scale per
    output channel and rounding to nearest, 4-bit formats want groups of 64 and error compensation.
    ValueError names a value that is not known.
    """

    format: str = "int8"
    group: str | None = None
    method: str | None = None

    def __post_init__(self):
        if self.group is None:
            object.__setattr__(self, "group", "channel" if self.format == "int8" else "64")
        if self.method is None:
            object.__setattr__(self, "method", "nearest" if self.format == "int8" else "gptq")
        for name, allowed in (("format", FORMATS), ("group", GROUPS), ("method", METHODS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}: allowed are {', '.join(map(repr, allowed))}")

    def __str__(self):
        groups = "per channel" if self.group == "channel" else f"in groups of {self.group}"
        rounding = "to nearest" if self.method == "nearest" else "with error compensation (GPTQ)"
        return f"{self.format} weights {groups}, rounded {rounding}"
