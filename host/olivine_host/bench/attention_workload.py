"""Random attention jobs of any shape, with scores and results that use their formats' ranges."""

from dataclasses import asdict, dataclass

import numpy as np
from olivine.attention.descriptor import HEAD_DIM_STEP, OutputFormat
from olivine.config import ConfigError
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

from ..attention_jobs import AttentionJob
from .limits import attention_limit

__all__ = ["KV_FORMATS", "AttentionShape", "random_attention"]

KV_FORMATS = {member.name.lower(): member for member in LaneFormat}

Q_FORMAT, O_FORMAT = RowFormat.INT12, OutputFormat.INT16
"""Queries and results of every benchmark lie in 16-bit containers."""

SPREAD = 1.5
"""Standard deviation of the scores as binary logarithms: a softmax over many keys that is neither flat nor a
choice of one."""


@dataclass(frozen=True)
class AttentionShape:
    """What an attention job costs depends on this alone.

    Parameters
    ----------
    tokens, keys : int
        Queries of each head, the latest positions of the keys; keys of each sequence.
    heads, kv_heads : int
        Query heads, and the KV heads that they share in equal parts.
    head_dim : int
    kv_format : str
        Of keys and values, a key of `KV_FORMATS`.
    causal : bool
    sequences : int
    """

    unit = "attention"

    tokens: int
    keys: int
    heads: int = 8
    kv_heads: int = 8
    head_dim: int = 64
    kv_format: str = "int8"
    causal: bool = False
    sequences: int = 1

    def __post_init__(self):
        for name in ("tokens", "keys", "heads", "kv_heads", "head_dim", "sequences"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: must be at least 1")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads is {self.heads}: must be a multiple of kv_heads, {self.kv_heads}")
        if self.head_dim % HEAD_DIM_STEP:
            raise ValueError(f"head_dim is {self.head_dim}: must be a multiple of {HEAD_DIM_STEP}")
        if self.kv_format not in KV_FORMATS:
            raise ValueError(f"kv_format is {self.kv_format!r}: allowed are {', '.join(KV_FORMATS)}")

    def __str__(self):
        heads = f"{self.heads} heads" + ("" if self.heads == self.kv_heads else f" on {self.kv_heads} KV heads")
        sequences = "" if self.sequences == 1 else f"{self.sequences} sequences, "
        mask = ", causal" if self.causal else ""
        return (f"{sequences}{self.tokens} tokens, {self.keys} keys, {heads}, d {self.head_dim}, "
                f"{self.kv_format}{mask}")

    @property
    def short(self):
        """For a table."""
        heads = f"{self.heads}h" if self.heads == self.kv_heads else f"{self.heads}/{self.kv_heads}h"
        sequences = "" if self.sequences == 1 else f"{self.sequences}*"
        mask = " causal" if self.causal else ""
        return f"{sequences}{self.tokens}x{self.keys} {heads} d{self.head_dim} {self.kv_format}{mask}"

    @property
    def sharing(self):
        """Query heads of a KV head."""
        return self.heads // self.kv_heads

    def as_dict(self):
        return asdict(self)

    def check(self, config):
        """Raise `ConfigError` if a configuration does not hold the shape."""
        for name, most in (("head_dim", config.max_head_dim), ("keys", config.max_sequence)):
            if getattr(self, name) > most:
                raise ConfigError(f"{name} is {getattr(self, name)}: preset {config.name!r} holds at most {most}")

    def limit(self, config):
        group = self.tokens * self.sharing, self.keys, self.keys - self.tokens
        kv_format = KV_FORMATS[self.kv_format]
        return attention_limit(config, [group] * (self.sequences * self.kv_heads), self.head_dim, kv_format,
                               kv_format, Q_FORMAT, O_FORMAT, heads=self.sharing, causal=self.causal)

    def job(self, config, seed=0):
        """An `AttentionJob` with random operands, its pages scattered over memory."""
        kv_format = KV_FORMATS[self.kv_format]
        return AttentionJob(config, random_attention(self, seed), heads=self.sharing, causal=self.causal,
                            key_format=kv_format, value_format=kv_format, q_format=Q_FORMAT, o_format=O_FORMAT,
                            seed=seed)


def random_attention(shape, seed=0):
    """Groups of a shape.

    Codes are uniform, so the outlier-victim formats bring outliers, victims and illegal bytes. Results keep
    7 fractional bits.

    Returns
    -------
    list of olivine_golden.attention.Group
    """
    from olivine_golden.attention import Group
    from olivine_golden.ovp import decode_codes

    rng = np.random.default_rng(seed)
    fmt = KV_FORMATS[shape.kv_format]
    groups = []
    for _ in range(shape.sequences * shape.kv_heads):
        q = rng.integers(-2048, 2048, (shape.tokens * shape.sharing, shape.head_dim))
        k, v = (rng.integers(0, 1 << fmt.bits, (shape.keys, shape.head_dim), np.uint8) for _ in "kv")
        values = k.view(np.int8) if fmt is LaneFormat.INT8 else decode_codes(k.T, fmt)
        typical = max(np.std(q), 1.0) * max(np.std(values.astype(float)), 1.0) * np.sqrt(shape.head_dim)
        # mult has 16 bits; its leading one is kept in bit 15.
        scale = SPREAD * 256 / typical
        shift = int(np.clip(15 - np.floor(np.log2(scale)), 0, 63))
        groups.append(Group(q, k, v, position=shape.keys - shape.tokens,
                            score_mult=int(np.clip(round(scale * 2.0 ** shift), 1, 65_535)), score_shift=shift))
    return groups
