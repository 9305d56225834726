"""Steps of generation from the key-value cache: what is prepared, and which jobs are measured.

A shape has the members of `AttentionShape` but for ``job`` and ``limit``: instead of one job it has a script of
them, which knows the limit.
"""

from dataclasses import asdict, dataclass

from olivine.attention.descriptor import HEAD_DIM_STEP
from olivine.config import ConfigError
from olivine.kvcache.descriptor import CacheOp

from ..cache_jobs import SegmentOf
from .attention_workload import KV_FORMATS, O_FORMAT, Q_FORMAT
from .cache_script import CacheScript
from .limits import attention_limit

__all__ = ["CacheShape", "HitterDecode", "HitterPrefill", "MixedDecode", "ForkedDecode", "AppendDecode"]


@dataclass(frozen=True)
class CacheShape:
    """What all have.

    Parameters
    ----------
    heads, head_dim : int
        KV heads, each with a query head of its own.
    kv_format : str
        A key of `KV_FORMATS`.
    """

    unit = "cache"

    heads: int = 12
    head_dim: int = 64
    kv_format: str = "int8"

    def __post_init__(self):
        for name, value in asdict(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            if not numbers or name != "kv_format" and min(numbers) < 1:
                raise ValueError(f"{name} is {value}: must be at least 1")
        if self.head_dim % HEAD_DIM_STEP:
            raise ValueError(f"head_dim is {self.head_dim}: must be a multiple of {HEAD_DIM_STEP}")
        if self.kv_format not in KV_FORMATS:
            raise ValueError(f"kv_format is {self.kv_format!r}: allowed are {', '.join(KV_FORMATS)}")

    def __str__(self):
        return f"{self.tokens_and_keys}, {self.heads} heads, d {self.head_dim}, {self.kv_format}"

    @property
    def short(self):
        """For a table."""
        return f"{self.sizes} {self.heads}h d{self.head_dim} {self.kv_format}"

    def as_dict(self):
        """The fields, as JSON has them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def tokens_and_keys(self):
        """In words, how many attend to how many."""
        raise NotImplementedError

    @property
    def sizes(self):
        """The same for a table."""
        raise NotImplementedError

    def lengths_of(self, config):
        """Positions of every sequence."""
        raise NotImplementedError

    def cells(self, config):
        """Cells of a heavy-hitter sequence, 0 if there is none."""
        return 0

    def _blocks(self, config):
        """Blocks of the pool."""
        places = [self.cells(config)] if self.cells(config) else self.lengths_of(config)
        return sum(-(-length // config.lanes) for length in places)

    def check(self, config):
        """Raise `ConfigError` if a configuration does not hold the shape."""
        for name, value, most in (("head_dim", self.head_dim, config.max_head_dim),
                                  ("the longest sequence", max(self.lengths_of(config)), config.max_sequence),
                                  ("the number of sequences", len(self.lengths_of(config)), config.sequences),
                                  ("the number of cells", self.cells(config), config.cells),
                                  ("the number of blocks", self._blocks(config), config.blocks)):
            if value > most:
                raise ConfigError(f"{name} is {value}: preset {config.name!r} holds at most {most}")

    def _new(self, config, seed, rows=1):
        return CacheScript(config, heads=self.heads, head_dim=self.head_dim, kv_format=KV_FORMATS[self.kv_format],
                           blocks=self._blocks(config), cells=self.cells(config), rows=rows, seed=seed)

    def script(self, config, seed=0):
        """A `CacheScript` with jobs that are measured."""
        raise NotImplementedError


@dataclass(frozen=True)
class HitterDecode(CacheShape):
    """One token of a heavy-hitter sequence whose budget is full: it attends to ``keys``, adds up, drops one."""

    keys: int = 1024

    def __post_init__(self):
        super().__post_init__()
        if self.keys < 3:
            raise ValueError(f"keys is {self.keys}: must be at least 3, a heavy one, a recent one and the token's")

    @property
    def tokens_and_keys(self):
        return f"1 token, {self.keys} cells, {self.keys - 1} kept"

    @property
    def sizes(self):
        return f"1x{self.keys}"

    def lengths_of(self, config):
        return [self.keys]

    def cells(self, config):
        return self.keys - 1 + config.chunk_rows

    def script(self, config, seed=0):
        script, kept = self._new(config, seed), self.keys - 1
        handle = script.open((-(-kept // 2), kept // 2, config.chunk_rows))
        script.extend(handle, kept)
        script.operate(CacheOp.APPEND, handle, count=1)
        script.append(handle, 1)
        script.attend(script.cells(handle, 1, causal=True, hitters=True))
        return script


@dataclass(frozen=True)
class HitterPrefill(CacheShape):
    """A step of a chunk over ``keys`` cells, ``tokens`` rows a head, and the score job; the limit is that of the
    attention alone, over keys that are not in cells."""

    tokens: int = 512
    keys: int = 512

    @property
    def tokens_and_keys(self):
        return f"{self.tokens} tokens, {self.keys} cells"

    @property
    def sizes(self):
        return f"{self.tokens}x{self.keys}"

    def lengths_of(self, config):
        return [self.keys]

    def _step(self, config):
        return min(config.chunk_rows, self.keys)

    def cells(self, config):
        """A budget that drops nothing."""
        return self.keys + 2 * self._step(config)

    def script(self, config, seed=0):
        script, step = self._new(config, seed, self.tokens), self._step(config)
        handle = script.open((self.keys, step, step))
        script.extend(handle, self.keys - step)
        script.operate(CacheOp.APPEND, handle, count=step)
        script.append(handle, step)
        job = script.cells(handle, self.tokens, causal=False, lse=True)
        script.attend(job)
        script.score(job, joined=True)
        kv_format = KV_FORMATS[self.kv_format]
        script.limit = attention_limit(config, [(self.tokens, self.keys, 0)] * self.heads, self.head_dim, kv_format,
                                       kv_format, Q_FORMAT, O_FORMAT)
        return script


@dataclass(frozen=True)
class MixedDecode(CacheShape):
    """One token of each of several sequences of different ``lengths``, in one job."""

    lengths: tuple = (64, 65, 129, 333, 512, 1000, 1500, 2048)

    @property
    def tokens_and_keys(self):
        return f"1 token each of sequences of {', '.join(map(str, self.lengths))} keys"

    @property
    def sizes(self):
        return f"{len(self.lengths)}*1x{min(self.lengths)}..{max(self.lengths)}"

    def lengths_of(self, config):
        return list(self.lengths)

    def script(self, config, seed=0):
        script = self._new(config, seed, len(self.lengths))
        handles = [script.open() for _ in self.lengths]
        for handle, length in zip(handles, self.lengths):
            script.extend(handle, length)
        script.attend(script.attention([
            script.request(head, 1, [SegmentOf(handle, length)], length - 1)
            for handle, length in zip(handles, self.lengths) for head in range(self.heads)], causal=False))
        return script


@dataclass(frozen=True)
class ForkedDecode(CacheShape):
    """One token of each of several sequences that share a ``prefix``, of whole blocks, and have ``suffixes`` of their
    own: one group a head, which reads the prefix once."""

    prefix: int = 1024
    suffixes: tuple = tuple(range(33, 258, 32))

    @property
    def tokens_and_keys(self):
        return (f"1 token each of {len(self.suffixes)} sequences, {self.prefix} shared keys and "
                f"{', '.join(map(str, self.suffixes))} own ones")

    @property
    def sizes(self):
        return f"{len(self.suffixes)}*1x({self.prefix} + {min(self.suffixes)}..{max(self.suffixes)})"

    def lengths_of(self, config):
        return [self.prefix + suffix for suffix in self.suffixes]

    def _blocks(self, config):
        return sum(-(-places // config.lanes) for places in (self.prefix, *self.suffixes))

    def check(self, config):
        super().check(config)
        if self.prefix % config.lanes:
            raise ConfigError(f"prefix is {self.prefix}: must be a multiple of the places of a block, {config.lanes}")

    def script(self, config, seed=0):
        script = self._new(config, seed, len(self.suffixes))
        first = script.open()
        script.extend(first, self.prefix)
        handles = [first, *(script.operate(CacheOp.FORK, first) for _ in self.suffixes[1:])]
        segments = [SegmentOf(first, self.prefix, rows=(1 << len(handles)) - 1)]
        for row, (handle, length) in enumerate(zip(handles, self.lengths_of(config))):
            script.extend(handle, length - self.prefix)
            segments.append(SegmentOf(handle, length, first=self.prefix // config.lanes, rows=1 << row))
        script.attend(script.attention([script.request(head, len(handles), segments, self.prefix)
                                        for head in range(self.heads)], causal=False))
        return script


@dataclass(frozen=True)
class AppendDecode(CacheShape):
    """One token: its keys and values are stored while it attends to ``keys``, its own among them."""

    keys: int = 1024

    @property
    def tokens_and_keys(self):
        return f"1 token stored and attending, {self.keys} keys"

    @property
    def sizes(self):
        return f"1x{self.keys}"

    def lengths_of(self, config):
        return [self.keys]

    def script(self, config, seed=0):
        script = self._new(config, seed)
        handle = script.open()
        script.extend(handle, self.keys - 1)
        script.operate(CacheOp.APPEND, handle, count=1)
        script.append(handle, 1, measured=True)
        job = script.attention([script.request(head, 1, [SegmentOf(handle, self.keys)], self.keys - 1)
                                for head in range(self.heads)], causal=True)
        script.attend(job, joined=True)
        # What the attention takes when everything is there.
        script.attend(job, measured=False)
        script.alone = len(script.jobs) - 1
        return script
