"""``olivine eval``: how well a language model predicts a text, in float and as the hardware computes it."""

import json
import re
import time
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from olivine_golden.kv_sequence import Policy, heavy, window
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ..lm.model import CACHES
from ..recipe import GROUPS, METHODS
from .options import config_options, configuration

__all__ = ["command", "policy_of", "refuse_meaningless", "source_of"]

PACKAGED = ("int8", "ovp4", "ovp4-tuned")
"""Quantized files of the default model."""

FORMATS = (*PACKAGED, "int4", "mixed")


def policy_of(text, config):
    """`Policy` of ``none``, ``window:N`` or ``heavy:N``; N counts the keys that a token attends to, its own included.

    Of heavy hitters half are kept for their sums, half for being recent; a prompt comes in chunks of the accelerator's
    P * C tokens.
    """
    if text == "none":
        return Policy()
    match = re.fullmatch(r"(window|heavy):(\d+)", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is none of none, window:N, heavy:N", param_hint="--eviction")
    kind, keys = match[1], int(match[2])
    if kind == "window":
        if keys < 1:
            raise click.BadParameter("a window has 1 key or more", param_hint="--eviction")
        return window(keys)
    kept = keys - 1
    if kept < 2 or kept + config.chunk_rows > config.cells:
        raise click.BadParameter(
            f"heavy hitters of {keys} keys: allowed is 3 to {config.cells - config.chunk_rows + 1} with preset "
            f"{config.name!r}, which has {config.cells} cells and chunks of {config.chunk_rows} tokens",
            param_hint="--eviction")
    return heavy(kept // 2, kept - kept // 2, config.chunk_rows)


@click.command("eval")
@click.option("--model", "model_path", type=click.Path(exists=True, path_type=Path), metavar="FOLDER|FILE",
              help="A GPT-2's folder (config.json, model.safetensors, tokenizer.json), which is quantized now, or a "
                   "quantized file.  [default: the package's model]")
@click.option("--float", "float_path", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER",
              help="Of a quantized file: the float model to compare with.")
@click.option("--text", "text_path", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Text to predict.  [default: held_out.txt beside the float model]")
@click.option("--calibration", "calibration_path", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              metavar="FILE", help="Text from which a folder's scales are found; not the one to predict.")
@click.option("--format", "weight_format", type=click.Choice(FORMATS), default=None,
              help="Weights: of the default model one of its files, of a folder what it is quantized to.  "
                   "[default: ovp4-tuned; of a folder int8]")
@click.option("--group", type=click.Choice(list(GROUPS)), default=None, help="Of a folder: weights that share a scale.")
@click.option("--method", type=click.Choice(METHODS), default=None, help="Of a folder: rounding of weights.")
@click.option("--bits", type=click.FloatRange(4, 8), default=None, help="Of a folder and format mixed: mean bits.")
@click.option("--save", "save_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Of a folder: where the quantized model is written.")
@click.option("--cache", type=click.Choice(CACHES), default="int8", show_default=True, help="Stored keys and values.")
@click.option("--eviction", default="none", show_default=True, metavar="none|window:N|heavy:N",
              help="Keys that a token attends to, its own included. Then only the second halves of windows count.")
@click.option("--windows", "limit", type=click.IntRange(min=1), default=None,
              help="Only so many windows of the text, spread evenly.")
@click.option("--stages", is_flag=True, help="Also show where integers and float part, stage by stage.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, and nothing else.")
@config_options("edge")
@click.pass_context
def command(context, model_path, float_path, text_path, calibration_path, weight_format, group, method, bits, save_path,
            cache, eviction, limit, stages, as_json, preset, config_file):
    """Perplexity of a text: of the float model, and of what the accelerator computes, bit for bit.

    The accelerator's part is the golden integer model; no Verilog is simulated. Its page size comes from the preset
    and shows in the last bits.
    """
    from ..lm.compare import stage_errors
    from ..lm.evaluate import BATCH, HITTER_BATCH, Windows, float_logits, integer_logits, score
    config = configuration(preset, config_file)
    policy = policy_of(eviction, config)
    view = _View(Console(highlight=False, quiet=as_json))
    source = source_of(model_path, weight_format)
    refuse_meaningless(context, source)
    quantized, model, folder = source.load(view, float_path, calibration_path, group, method, bits, save_path)
    from olivine_golden.decoder.forward import Decoder
    ids = _ids(quantized, _text(text_path, folder), quantized.config)
    windows = Windows(ids, quantized.config.context, limit, last=eviction != "none")
    scores = {}
    if model is not None:
        with view.counting("float", windows.tokens) as advance:
            scores["float"] = score(float_logits(model), windows, BATCH, advance)
    decoder = quantized.with_cache(cache)
    with view.counting("integers", windows.tokens) as advance:
        scores["integers"] = score(
            integer_logits(Decoder(decoder, config.lanes), decoder.logits_scale, policy), windows,
            HITTER_BATCH if eviction.startswith("heavy") else BATCH, advance)
    figures = {
        "model": str(model_path or "default"), "format": quantized.info.get("recipe"), "cache": cache,
        "eviction": eviction, "preset": config.name, "lanes": config.lanes, "windows": len(windows.parts),
        "weight_bits": round(quantized.weight_bits, 3),
        **{name: {"perplexity": one.perplexity, "tokens": one.scored, "tokens_per_second": round(one.speed)}
           for name, one in scores.items()},
    }
    if model is not None:
        figures["ratio"] = scores["integers"].perplexity / scores["float"].perplexity
    if stages and model is not None:
        part = np.stack([ids for ids, _ in windows.parts if len(ids) == len(windows.parts[0][0])][:8])[:, :-1]
        figures["stages"] = [{"layer": layer, "stage": stage, "error": error} for (layer, stage), error in
                             stage_errors(model, decoder, config.lanes, part).items()]
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        view.show(figures)


class _View:
    """Progress on a terminal, plain lines elsewhere, tables at the end."""

    def __init__(self, console):
        self.console = console

    def say(self, line):
        self.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def counting(self, what, total):
        """A bar over ``total`` tokens; gives the function to call with those that are done."""
        began = time.monotonic()
        if not self.console.is_terminal or self.console.quiet:
            yield lambda tokens: None
            self.say(f"{what}: {total:,} tokens, {time.monotonic() - began:.0f} s")
            return
        columns = (TextColumn("{task.description:9}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
                   TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda tokens: bar.advance(task, tokens)

    def show(self, figures):
        self.say(f"{figures['model']}: {figures['format']}; {figures['weight_bits']:g} bits a weight; cache "
                 f"{figures['cache']}, eviction {figures['eviction']}; preset {figures['preset']}, pages of "
                 f"{figures['lanes']} keys")
        table = Table(box=box.SIMPLE_HEAD)
        for column in ("computed in", "perplexity", "ratio", "tokens scored", "tokens/s"):
            table.add_column(column, justify="left" if column == "computed in" else "right")
        for name in ("float", "integers"):
            if name in figures:
                one = figures[name]
                ratio = f"{figures['ratio']:.4f}" if name == "integers" and "ratio" in figures else ""
                table.add_row(name, f"{one['perplexity']:.4f}", ratio, f"{one['tokens']:,}",
                              f"{one['tokens_per_second']:,}")
        self.console.print(table)
        if "stages" not in figures:
            return
        table = Table("layer", "stage", "relative error", box=box.SIMPLE_HEAD)
        for row in figures["stages"]:
            table.add_row(str(row["layer"]), row["stage"], f"{row['error']:.5f}")
        self.console.print(table)


class _Default:
    """The package's model: a quantized file for each format."""

    meaningless = ("float_path", "calibration_path", "group", "method", "bits", "save_path")
    what = "the default model"

    def __init__(self, weight_format):
        self._format = weight_format or "ovp4-tuned"
        if self._format not in PACKAGED:
            raise click.UsageError(f"the default model has no format {self._format}: there are {', '.join(PACKAGED)}")

    def load(self, view, *_):
        from ..kjv.paths import MODEL, quantized_file
        from ..lm.file import load
        from ..lm.gpt2 import from_folder
        return load(quantized_file(self._format)), from_folder(MODEL), MODEL


class _File:
    """A quantized file."""

    meaningless = ("weight_format", "calibration_path", "group", "method", "bits", "save_path")
    what = "a quantized file"

    def __init__(self, path):
        self._path = path

    def load(self, view, float_path, *_):
        from ..lm.file import load
        from ..lm.gpt2 import from_folder
        quantized = load(self._path)
        return quantized, None if float_path is None else from_folder(float_path), float_path


class _Folder:
    """A float model that is quantized now."""

    meaningless = ("float_path",)
    what = "a folder"

    def __init__(self, path, weight_format):
        self._path, self._format = path, weight_format or "int8"
        if self._format == "ovp4-tuned":
            raise click.UsageError("ovp4-tuned is a file of the default model: a folder is quantized to int8, ovp4, "
                                   "int4 or mixed")

    def load(self, view, _, calibration_path, group, method, bits, save_path):
        from tokenizers import Tokenizer

        from ..lm.gpt2 import from_folder, read_tokenizer
        from ..lm.recipe import LMRecipe
        if calibration_path is None:
            raise click.UsageError("a folder needs --calibration, a text from which its scales are found")
        recipe = LMRecipe(self._format, group, method, bits=bits)
        model, tokenizer = from_folder(self._path), read_tokenizer(self._path)
        # After everything is checked: PyTorch takes seconds to import.
        from ..lm.budget import choose_formats
        from ..lm.file import save
        from ..lm.quantize import calibration_windows, quantize
        text = calibration_path.read_text(encoding="utf-8")
        ids = calibration_windows(Tokenizer.from_str(tokenizer).encode(text).ids, model.config.context)
        formats = choose_formats(model, ids, recipe, report=view.say) if recipe.format == "mixed" else None
        quantized = quantize(model, ids, recipe, formats=formats, tokenizer=tokenizer, report=view.say)
        if save_path is not None:
            save(save_path, quantized)
        return quantized, model, self._path


def source_of(path, weight_format):
    if path is None:
        return _Default(weight_format)
    return _Folder(path, weight_format) if path.is_dir() else _File(path)


def refuse_meaningless(context, source):
    flags = {option.name: option.opts[0] for option in context.command.params}
    given = [flags[name] for name in source.meaningless
             if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(f"{', '.join(given)} means nothing for {source.what}")


def _text(path, folder):
    if path is None:
        path = None if folder is None else folder / "held_out.txt"
        if path is None or not path.is_file():
            raise click.UsageError("there is no text: name one with --text")
    return path.read_text(encoding="utf-8")


def _ids(quantized, text, config):
    from tokenizers import Tokenizer
    if not quantized.tokenizer:
        raise ValueError("the quantized model has no tokenizer")
    ids = np.array(Tokenizer.from_str(quantized.tokenizer).encode(text).ids)
    if len(ids) and ids.max() >= config.vocab:
        raise ValueError(f"the tokenizer gives {ids.max()}: the model's vocabulary has {config.vocab}")
    return ids
