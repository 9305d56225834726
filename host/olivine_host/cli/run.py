"""``olivine run``: text from a language model on the simulated core; with options, parts of an encoder."""

from pathlib import Path

import click
from click.core import ParameterSource

from ..backends import BACKENDS
from ..lm.model import CACHES
from ..recipe import GROUPS, METHODS
from .board import SERIAL, baud_option
from .options import config_options, configuration, waves_option
from .run_generate import Wish, run_generate
from .run_layer import run_cache_demo, run_layers

__all__ = ["command"]

FORMATS = ("int8", "ovp4", "ovp4-tuned", "int4")

MODES = {
    "text": ("prompts", "tokens", "model_path", "calibration_path", "backend", "baud", "batch", "weight_format",
             "group", "method", "cache", "eviction", "temperature", "top_k", "top_p", "seed", "trace", "listing",
             "compare", "waves"),
    "layers": ("layer", "layers", "texts", "backend", "weight_format", "group", "method", "waves"),
    "cache_demo": ("layer", "texts", "cache_demo", "cache_share", "text_file", "picture"),
}
"""What the command does, and which options that has besides preset and configuration."""

WORDS = {"text": "a generation", "layers": "--layer and --layers", "cache_demo": "--cache-demo"}



class _Backend(click.ParamType):
    """One of `BACKENDS`, or a board."""

    name = "backend"

    def convert(self, value, param, ctx):
        if value in BACKENDS or value.startswith(SERIAL) and value != SERIAL:
            return value
        self.fail(f"{value!r} is not one of {', '.join(map(repr, BACKENDS))}, nor '{SERIAL}PORT'.", param, ctx)


_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("run")
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT",
              help="Text to continue, may be repeated.  [default: of the default model, \"And the LORD said unto\"]")
@click.option("--tokens", type=click.IntRange(min=1), default=32, show_default=True,
              help="Tokens to generate for each prompt.")
@click.option("--model", "model_path", type=click.Path(exists=True, path_type=Path), metavar="FOLDER|FILE",
              help="A GPT-2's folder, which is quantized now, or a quantized file.  [default: the package's model]")
@click.option("--calibration", "calibration_path", type=_EXISTING, metavar="FILE",
              help="Of a folder: text from which its scales are found.")
@config_options("edge")
@click.option("--backend", type=_Backend(), default="verilator", show_default=True,
              metavar=f"{'|'.join(BACKENDS)}|{SERIAL}PORT",
              help="What computes; golden is the integer model, without Verilog and without cycles; serial:PORT a "
                   "board, whose bitstream has this preset or configuration.")
@baud_option
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True,
              help="Continuations of each prompt, all in one batch.")
@click.option("--format", "weight_format", type=click.Choice(FORMATS), default=None,
              help="Weights: of the default model one of its files (not int4), of a folder or of MiniLM's layers what "
                   "they are quantized to.  [default: ovp4-tuned; of a folder or layers int8]")
@click.option("--group", type=click.Choice(list(GROUPS)), default=None,
              help="Of a folder or layers: weights that share a scale.")
@click.option("--method", type=click.Choice(METHODS), default=None, help="Of a folder or layers: rounding of weights.")
@click.option("--cache", type=click.Choice(CACHES), default="int8", show_default=True, help="Stored keys and values.")
@click.option("--eviction", default="none", show_default=True, metavar="none|window:N|heavy:N",
              help="Keys that a token attends to, its own included.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True,
              help="0: always the likeliest token.")
@click.option("--top-k", type=click.IntRange(min=0), default=0, show_default=True,
              help="Only the k likeliest tokens; 0: all. Up to 8 the core picks them.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Only the likeliest tokens that together have this probability.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice of tokens.")
@click.option("--trace", type=_FILE, metavar="FILE", help="Write what the core did in every cycle, for Perfetto.")
@click.option("--listing", type=_FILE, metavar="FILE", help="Write the last step's program and the memory map.")
@click.option("--compare", is_flag=True,
              help="Also show, stage by stage, where core, golden and float part, for a prompt of one row group.")
@waves_option
@click.option("--layer", type=click.IntRange(min=0),
              help="Instead: an encoder layer of MiniLM, its linear layers and attention.  [of --cache-demo: 2]")
@click.option("--layers", type=click.Choice(["all"]), help="Instead: all layers of MiniLM.")
@click.option("--cache-demo", is_flag=True,
              help="Instead: a layer's attention with a small cache, which keeps a window or heavy hitters. Golden "
                   "model, about 20 s.")
@click.option("--text", "texts", multiple=True, metavar="SENTENCE",
              help="Of MiniLM: input sentence, may be repeated.  [default: built in]")
@click.option("--cache-share", type=click.FloatRange(0, 1, min_open=True), default=0.2, show_default=True,
              help="Of --cache-demo: share of the text's keys that the small caches hold.")
@click.option("--text-file", type=_EXISTING, metavar="FILE", help="Of --cache-demo: text of at least 128 tokens.")
@click.option("--picture", type=_FILE, metavar="FILE",
              help="Of --cache-demo: where the picture goes.  [default: cache-survivors.png in build]")
@click.pass_context
def command(context, preset, config_file, layer, layers, texts, cache_demo, cache_share, text_file, picture, backend,
            weight_format, group, method, waves, **generation):
    """Generate text with a language model on the simulated core.

    Embeddings, norms, linear layers, attention, the key-value cache and the choice of the largest logits run on the
    generated Verilog, as one program a step. Then it shows what that cost, and whether the golden integer
    model generates the same tokens and logits: if not, the command fails.

    With --layer, --layers or --cache-demo it shows parts of MiniLM, an encoder, instead.
    """
    mode = "cache_demo" if cache_demo else "layers" if layer is not None or layers else "text"
    _refuse_others(context, mode)
    config = configuration(preset, config_file)
    if mode == "cache_demo":
        run_cache_demo(config, layer, texts, text_file, cache_share, picture)
    elif mode == "layers":
        if layer is not None and layers is not None:
            raise click.UsageError("--layer and --layers exclude each other")
        if weight_format == "ovp4-tuned":
            raise click.UsageError("ovp4-tuned is a file of the default model: MiniLM's layers have int8, ovp4, int4")
        if backend.startswith(SERIAL):
            raise click.UsageError(f"a board runs whole models: --layer and --layers need one of {', '.join(BACKENDS)}")
        run_layers(config, backend, layer, layers == "all", texts, weight_format, group, method, waves)
    else:
        run_generate(context, config, Wish(backend=backend, weight_format=weight_format, group=group, method=method,
                                           waves=waves, **generation))


def _refuse_others(context, mode):
    """Refuse options that are given and mean nothing."""
    known = set().union(*MODES.values())
    flags = {option.name: option.opts[0] for option in context.command.params}
    given = [flags[name] for name in flags if name in known - set(MODES[mode])
             and context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(f"{', '.join(given)} means nothing for {WORDS[mode]}")
