"""``python -m olivine_host.kjv.quantize``: the default model's quantized files, from its float one."""

import json
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer

from ..lm.file import save
from ..lm.finetune import FineTuning, finetune
from ..lm.gpt2 import from_folder, read_tokenizer
from ..lm.quantize import Pipeline, calibration_windows, quantize
from ..lm.recipe import LMRecipe
from .paths import MODEL, QUANTIZED
from .text import digest, split, verses

RECIPES = {"int8": LMRecipe("int8"), "ovp4": LMRecipe("ovp4"), "ovp4-tuned": LMRecipe("ovp4", method="nearest")}
"""By name of the file. Tuned weights start as the compensated ones, and keep their grid."""

LOG = "finetune.json"


def _tune(model, start, ids, settings, console):
    """`Tuned`, under a progress bar."""
    columns = (TextColumn("fine-tuning"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]}"),
               TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task, losses = bar.add_task("", total=settings.steps, loss=""), []

        def advance(step, loss):
            bar.update(task, completed=step, loss=f"{loss:.4f}")
            losses.append(loss)
            if step % 50 == 0:
                console.print(f"step {step}, loss {np.mean(losses[-50:]):.5f}")

        return finetune(model, start, ids, settings, advance)


def _tuned(model, ids, windows, out, settings, text_digest, console):
    """`Tuned`, from the compensated quantization on; its log is written."""
    start = Pipeline(model, windows, RECIPES["ovp4"], report=console.print)
    start.run()
    tuned = _tune(model, start.linears, ids, settings, console)
    out.mkdir(parents=True, exist_ok=True)
    record = {"settings": asdict(settings), "training_text": text_digest, "log": tuned.log}
    (out / LOG).write_text(json.dumps(record, indent=1) + "\n")
    return tuned


@click.command()
@click.option("--only", type=click.Choice(list(RECIPES)), multiple=True, help="File to make.  [default: all]")
@click.option("--model", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=MODEL,
              show_default="the package's")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=QUANTIZED,
              show_default="the package's", help="Where the files are written.")
@click.option("--steps", type=click.IntRange(1), default=FineTuning.steps, show_default=True, help="Of fine-tuning.")
def main(only, folder, out, steps):
    """Quantize the default model: int8, ovp4 with compensated rounding, ovp4 fine-tuned (about 15 minutes).

    Scales are found on the training text; nothing of the held-out text is read.
    """
    try:
        text, _ = split(verses())
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    # The order of sums, hence the last bits, depends on it.
    torch.set_num_threads(1)
    console = Console()
    model, tokenizer = from_folder(folder), read_tokenizer(folder)
    ids = np.array(Tokenizer.from_str(tokenizer).encode(text).ids)
    windows = calibration_windows(ids, model.config.context)
    for name in only or RECIPES:
        recipe, tuned = RECIPES[name], None
        if name == "ovp4-tuned":
            tuned = _tuned(model, ids, windows, out, FineTuning(steps=steps), digest(text), console)
        console.print(f"{name}: {recipe}")
        made = quantize(model if tuned is None else tuned.model, windows, recipe,
                        grids=None if tuned is None else tuned.grids, tokenizer=tokenizer, report=console.print)
        made.info["name"] = name
        save(out / f"{name}.safetensors", made)


if __name__ == "__main__":
    main()
