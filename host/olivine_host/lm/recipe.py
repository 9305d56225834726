"""How a language model is quantized."""

from dataclasses import dataclass

from olivine.linear.descriptor import Group

from ..recipe import FORMATS, GROUPS, Recipe

__all__ = ["LMRecipe"]


@dataclass(frozen=True)
class LMRecipe:
    """Formats of the weights, groups, rounding.

    Parameters
    ----------
    format : str
        Of the layers: "int8", "ovp4" (the better of its int and flint types by tensor), "int4", or "mixed": int8 and
        ovp4 by tensor, within a budget of bits.
    group, method : str or None
        Of tensors that are not int8: "64", "128" or "channel"; "nearest" or "gptq" (error-compensated). None: what
        `Recipe` takes. An int8 tensor has one scale a channel and is rounded to nearest.
    head : str
        Format of the head: as ``format``.
    bits : float or None
        Of "mixed", its budget: mean bits of a layer's weight, scales not counted. 4 to 8.
    """

    format: str = "int8"
    group: str | None = None
    method: str | None = None
    head: str = "int8"
    bits: float | None = None

    def __post_init__(self):
        if self.format not in (*FORMATS, "mixed"):
            raise ValueError(f"format is {self.format!r}: allowed are {', '.join(map(repr, (*FORMATS, 'mixed')))}")
        if self.head not in FORMATS:
            raise ValueError(f"head is {self.head!r}: allowed are {', '.join(map(repr, FORMATS))}")
        if (self.format == "mixed") != (self.bits is not None):
            raise ValueError("bits is the budget of format 'mixed', which needs one; no other format has it")
        if self.bits is not None and not 4 <= self.bits <= 8:
            raise ValueError(f"bits is {self.bits}: allowed is 4 to 8")
        other = Recipe("ovp4" if self.format == "mixed" else self.format, self.group, self.method)
        object.__setattr__(self, "group", other.group)
        object.__setattr__(self, "method", other.method)

    @property
    def compensated(self):
        """Whether layers make up for errors before them."""
        return self.method == "gptq"

    def options(self, name):
        """``format``, ``group`` and ``method`` of `quantize_linear` for a tensor in format ``name``."""
        if name == "int8" != self.format:
            return {"format": FORMATS[name], "group": Group.CHANNEL, "method": "nearest"}
        return {"format": FORMATS[name], "group": GROUPS[self.group], "method": self.method}

    def __str__(self):
        budget = f" of {self.bits:g} bits" if self.bits is not None else ""
        groups = "per channel" if self.group == "channel" else f"groups of {self.group}"
        rounding = "nearest" if self.method == "nearest" else "compensated"
        return f"{self.format}{budget}, {groups}, {rounding}, head {self.head}"
