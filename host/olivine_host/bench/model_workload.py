"""Steps of whole language models on the core: what is prepared, and which program is measured."""

from dataclasses import asdict, dataclass

import numpy as np
from olivine.attention.descriptor import HEAD_DIM_STEP
from olivine.config import ConfigError
from olivine.control.instruction import INSTRUCTION_BYTES
from olivine.control.job import StatusCode
from olivine.kvcache.append.descriptor import AppendRow
from olivine.kvcache.descriptor import CacheOp
from olivine.linear.descriptor import Group, RowFormat
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.model import DecoderConfig
from olivine_golden.machine import Machine

from ..compiler.batch import Part
from ..compiler.model import CompiledModel
from ..compiler.program import Program
from ..compiler.step import StepCompiler
from .model_limits import step_limit

__all__ = ["ModelShape", "ModelScript"]

FORMATS = {"ovp4": (LaneFormat.OVP4_INT, Group.G64), "int8": (LaneFormat.INT8, Group.CHANNEL)}
KV_FORMATS = {"int8": LaneFormat.INT8, "ovp4": LaneFormat.OVP4_INT}


@dataclass(frozen=True)
class ModelShape:
    """A step of a random model.

    Parameters
    ----------
    d_model, layers, heads, hidden, vocab : int
        ``vocab`` is that of embedding and head.
    lengths : tuple of int
        Of each sequence, with this step's token; of a prompt its tokens.
    prompt : bool
        The step is the whole prompt, in chunks of P * C tokens that one program holds.
    embeds, head : bool
        Whether tokens come in and logits go out; otherwise the residual stream does.
    format, kv_format : str
        Weights, with the head's, of a key of `FORMATS`; keys and values, of a key of `KV_FORMATS`.
    """

    unit = "core"

    d_model: int = 256
    layers: int = 4
    heads: int = 4
    hidden: int = 1024
    vocab: int = 1024
    lengths: tuple = (256,)
    prompt: bool = False
    embeds: bool = True
    head: bool = True
    format: str = "ovp4"
    kv_format: str = "int8"

    def __post_init__(self):
        for name in ("d_model", "layers", "heads", "hidden", "vocab"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: must be at least 1")
        if not self.lengths or min(self.lengths) < 1 or self.prompt and len(self.lengths) > 1:
            raise ValueError(f"lengths is {self.lengths}: one or more, each at least 1; of a prompt one")
        if not (self.embeds or self.prompt):
            raise ValueError("embeds is False: only a prompt can begin with its residual stream in memory")
        if self.d_model % self.heads or self.head_dim % HEAD_DIM_STEP:
            raise ValueError(f"d_model is {self.d_model}: must be a multiple of {self.heads} heads of a multiple of "
                             f"{HEAD_DIM_STEP}")
        for name, allowed in (("format", FORMATS), ("kv_format", KV_FORMATS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}: allowed are {', '.join(allowed)}")

    @property
    def tokens(self):
        """Of the step."""
        return self.lengths[0] if self.prompt else len(self.lengths)

    @property
    def head_dim(self):
        return self.d_model // self.heads

    def __str__(self):
        what = f"a prompt of {self.lengths[0]} tokens" if self.prompt else \
            f"{len(self.lengths)} sequences of {', '.join(map(str, self.lengths))} tokens"
        return (f"{what}, d {self.d_model}, {self.layers} layers, {self.heads} heads, weights {self.format}, cache "
                f"{self.kv_format}{'' if self.head else ', no head'}")

    @property
    def short(self):
        sizes = f"{self.lengths[0]}" if len(self.lengths) == 1 else f"{len(self.lengths)} x {max(self.lengths)}"
        return f"{sizes} d{self.d_model} {self.layers}l {self.format} {self.kv_format}"

    def as_dict(self):
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def check(self, config):
        if len(self.lengths) > min(config.sequences, config.chunk_rows):
            raise ConfigError(f"there are {len(self.lengths)} sequences: preset {config.name!r} holds at most "
                              f"{min(config.sequences, config.chunk_rows)}")
        self.compiled(config)

    def decoder(self, seed=0):
        """The model: random, with residuals in range."""
        lane_format, group = FORMATS[self.format]
        sizes = DecoderConfig(self.layers, self.d_model, self.heads, self.heads, self.head_dim, self.hidden,
                              max(self.lengths), self.vocab, Function.GELU_TANH)
        return random_decoder(sizes, seed, (lane_format,), (group,), (KV_FORMATS[self.kv_format],) * 2)

    def compiled(self, config, decoder=None):
        blocks = sum(-(-length // config.lanes) for length in self.lengths)
        return CompiledModel(config, decoder or self.decoder(), blocks=blocks, hitters=False,
                             sets=2 if self.prompt else 1)

    def script(self, config, seed=0):
        """The `ModelScript` of a configuration."""
        return ModelScript(self, config, seed)


class ModelScript:
    """Programs that fill the cache, and the one that is measured.

    Attributes
    ----------
    prepare : list of (Program, list of (int, bytes))
        Each with what memory must hold for it.
    measured : Program
    regions : list of (int, bytes)
        Of the measured program, without it.
    limit : Limit
    results : list of (int, int)
        Memory that golden and hardware must agree on: address and size.
    """

    def __init__(self, shape, config, seed):
        self.shape, self.config = shape, config
        rng = np.random.default_rng(seed)
        decoder = shape.decoder(seed)
        self.model = model = shape.compiled(config, decoder)
        self.compiler = StepCompiler(model, embeds=shape.embeds, head=shape.head)
        before = [0 if shape.prompt else length - 1 for length in shape.lengths]
        self.handles = [(slot, 0) for slot in range(len(before))]
        self.prepare = self._prepare(before, rng)

        def tokens(count):
            return tuple(rng.integers(0, shape.vocab, count).tolist())

        if shape.prompt:
            rows, count = config.chunk_rows, shape.lengths[0]
            batches = [[Part(self.handles[0], start, tokens(min(rows, count - start)), start + rows >= count)]
                       for start in range(0, count, rows)]
        else:
            batches = [[Part(handle, start, tokens(1)) for handle, start in zip(self.handles, before)]]
        steps = self.compiler.steps(batches)
        self.measured, self.regions = steps[-1].program, steps[-1].regions[1:]
        if not shape.embeds:
            for rows in model.large:
                place = rows["residual"].place
                content = (rng.normal(0, 1024, place.size // 4)).astype("<i4").tobytes()
                self.regions.append((place.address, content))
        limits = [step_limit(config, decoder, batch, sum(part.logits for part in batch) * shape.head, shape.embeds)
                  for batch in batches]
        self.limit = limits[0]
        for limit in limits[1:]:
            self.limit += limit
        geometry = model.geometry
        self.results = [(geometry["base"], geometry["blocks"] * geometry["block_units"] * 4096)]
        if shape.head:
            self.results.append((model.logits.at(0), steps[-1].logits_groups * model.logits.group_bytes))

    def _prepare(self, before, rng):
        """Sequences of random keys and values, written by append jobs."""
        model, config, sizes = self.model, self.config, self.model.decoder.config
        setup = Program()
        setup.add("setup", {f"geometry.{name}": value for name, value in model.geometry.items()})
        for _ in before:
            setup.add("cache", {"op": CacheOp.OPEN})
        programs = [(setup, [])]
        words = 2 * sizes.kv_heads * sizes.head_dim
        rows = model.large[0]["hidden"].place.address   # holds nothing yet
        source = rng.normal(0, 4000, config.contexts * words * config.rows).astype("<i2").tobytes()
        for (slot, generation), length in zip(self.handles, before):
            for start in range(0, length, config.chunk_rows):
                count = min(config.chunk_rows, length - start)
                table = b"".join(AppendRow.const({"slot": slot, "generation": generation, "offset": offset}).as_value()
                                 .value.to_bytes(8, "little") for offset in range(count))
                table += bytes(-len(table) % config.bus_bytes)
                program = Program()
                program.add("cache", {"op": CacheOp.APPEND, "slot": slot, "generation": generation, "count": count})
                for layer in range(sizes.layers):
                    program.add("append", {
                        "format": RowFormat.INT16.value, "heads": sizes.kv_heads, "first_head": layer * sizes.kv_heads,
                        "rows": count, "keys": rows, "values": rows + words // 2 * config.bus_bytes,
                        "table": model.tables.address, "scales": model.layers[layer].scales, "channels": words,
                        "full": 1})
                program.add("cache", {"op": CacheOp.COMMIT, "slot": slot, "generation": generation, "count": count})
                programs.append((program, [(rows, source), (model.tables.address, table)]))
        return programs

    def run(self, load, start, advance=lambda done: None):
        """Load and run all programs.

        Parameters
        ----------
        load : callable
            Takes (address, bytes) regions.
        start : callable
            Runs the program at an address, of so many instructions.
        advance : callable
            Called with the share of programs that are done.
        """
        load(*self.model.regions)
        programs = [*self.prepare, (self.measured, self.regions)]
        made = None
        for number, (program, regions) in enumerate(programs):
            image = program.pack()
            load((self.model.program.address, image), *regions)
            made = start(self.model.program.address, len(image) // INSTRUCTION_BYTES)
            advance((number + 1) / len(programs))
        return made

    def golden(self):
        """What memory holds in `results` after all programs, and the tallies of the measured one."""
        machine = Machine(self.config)

        def load(*regions):
            for address, content in regions:
                machine.memory[address:address + len(content)] = bytes(content)

        def start(address, length):
            ended = machine.run(address, length)
            assert ended.code is StatusCode.OK, ended
            return ended

        ended = self.run(load, start)
        return [bytes(machine.memory[address:address + size]) for address, size in self.results], ended.tallies
