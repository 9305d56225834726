"""Random linear jobs of any shape, scaled so that results use their format's range.

A shape knows its engine (``unit``), whether a configuration holds it (``check``), its `Limit` and a random
job; `AttentionShape` has the same members.
"""

from dataclasses import asdict, dataclass

import numpy as np
from olivine.config import REQUANT_BITS, ConfigError
from olivine.linear.descriptor import Group, RowFormat, run_steps
from olivine.olive.formats import LaneFormat

from ..jobs import LinearJob
from .limits import linear_limit

__all__ = ["FORMATS", "GROUPS", "ROW_FORMATS", "LinearShape", "random_linear"]

FORMATS = {member.name.lower(): member for member in LaneFormat}
GROUPS = {"channel": Group.CHANNEL, "64": Group.G64, "128": Group.G128}
ROW_FORMATS = {member.name.lower(): member for member in RowFormat}


@dataclass(frozen=True)
class LinearShape:
    """What a linear job costs depends on this alone.

    Parameters
    ----------
    m, k, n : int
        Rows, reduction, output channels.
    format : str
        Of the weights, a key of `FORMATS`.
    group : str
        Steps that share a scale, a key of `GROUPS`.
    x_format, y_format : str
        Of inputs and results, keys of `ROW_FORMATS`.
    """

    unit = "linear"

    m: int
    k: int
    n: int
    format: str = "ovp4_int"
    group: str = "64"
    x_format: str = "int8"
    y_format: str = "int8"

    def __post_init__(self):
        for name in ("m", "k", "n"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: must be at least 1")
        for name, allowed in (("format", FORMATS), ("group", GROUPS), ("x_format", ROW_FORMATS),
                              ("y_format", ROW_FORMATS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}: allowed are {', '.join(allowed)}")
        if self.x_format == "int16":
            raise ValueError("x_format is 'int16': row operands have 12 bits, allowed are int8, int12")

    def __str__(self):
        group = "per channel" if self.group == "channel" else f"in groups of {self.group}"
        return f"{self.m} x {self.k} x {self.n}, {self.format} {group}, {self.x_format} to {self.y_format}"

    @property
    def short(self):
        """For a table."""
        group = "" if self.group == "channel" else f" g{self.group}"
        return f"{self.m}x{self.k}x{self.n} {self.format}{group}"

    def as_dict(self):
        return asdict(self)

    def check(self, config):
        """Raise `ConfigError` if a configuration does not hold the shape."""
        if self.k > config.max_reduction:
            raise ConfigError(f"k is {self.k}: preset {config.name!r} holds at most {config.max_reduction}")

    def limit(self, config):
        return linear_limit(config, self.m, self.k, self.n, FORMATS[self.format], GROUPS[self.group],
                            ROW_FORMATS[self.x_format], ROW_FORMATS[self.y_format])

    def job(self, config, seed=0):
        """A `LinearJob` with random operands."""
        weights, x = random_linear(self, seed)
        return LinearJob(config, weights, x, ROW_FORMATS[self.x_format], ROW_FORMATS[self.y_format])


def random_linear(shape, seed=0):
    """Weights and inputs of a shape.

    Codes are uniform, so the outlier-victim formats bring outliers, victims and illegal bytes. The
    requantization aims at results of a quarter of their format's largest value, so that rounding and
    now and then saturation show.

    Returns
    -------
    (LinearWeights, int64 [M, K])
    """
    from olivine_golden.linear import LinearWeights, decode

    rng = np.random.default_rng(seed)
    fmt, group = FORMATS[shape.format], GROUPS[shape.group]
    x_bits, y_bits = ROW_FORMATS[shape.x_format].bits, ROW_FORMATS[shape.y_format].bits
    x = rng.integers(-1 << x_bits - 1, 1 << x_bits - 1, (shape.m, shape.k))
    codes = rng.integers(0, 1 << fmt.bits, (shape.k, shape.n), np.uint8)
    if group is Group.CHANNEL:
        multipliers, group_shift, gain = None, 0, 1.0
    else:
        multipliers = rng.integers(1, 256, (-(-shape.k // run_steps(group)), shape.n), np.uint8)
        group_shift, gain = 7, np.sqrt(np.mean(multipliers.astype(float) ** 2)) / 128
    none = (np.zeros(shape.n, dtype) for dtype in (np.int32, np.uint16, np.uint8))
    spread = float(np.std(decode(LinearWeights(fmt, group, codes, multipliers, group_shift, *none))))
    typical = max(np.std(x), 1.0) * max(spread, 1.0) * np.sqrt(shape.k) * gain
    scale = (1 << y_bits - 1) / 4 / typical * rng.uniform(.5, 1.5, shape.n)
    # mult has 16 bits; its leading one is kept in bit 15.
    shift = np.clip(15 - np.floor(np.log2(scale)), 0, 63)
    mult = np.clip(np.round(scale * 2.0 ** shift), 1, 65_535)
    bias = np.clip(rng.normal(0, typical, shape.n), -1 << 31, (1 << 31) - 1)
    assert typical < 1 << REQUANT_BITS - 1
    return LinearWeights(fmt, group, codes, multipliers, group_shift, bias.astype(np.int32),
                         mult.astype(np.uint16), shift.astype(np.uint8)), x
