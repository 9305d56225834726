"""``python -m olivine_host.kjv.train``: train the default language model, or go on with it where it stopped."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..simulation.build import build_root
from .evaluate import evaluate
from .load import FOLDER, load
from .text import digest, split, verses
from .tokenizer import train_tokenizer
from .training import Settings, Training

CHECKPOINT, LOG = 200, 100
"""Steps between two checkpoints, and between two lines of the log."""

FIRST = 20
"""Windows of the held-out text that a quick check looks at."""


def run(training, folder, console):
    """Do the steps that are left. The last state before the rate falls is kept apart, for a longer run."""
    settings = training.settings
    paths = {True: folder / "hold.pt", False: folder / "last.pt"}
    for path in (paths[False], paths[True]):
        if path.exists():
            training.resume(path)
            break
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]}"),
               TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=settings.steps, completed=training.step, loss="")
        while training.step < settings.steps:
            training.advance()
            bar.update(task, completed=training.step, loss=f"{training.losses[-1]:.3f}")
            if training.step % LOG == 0:
                bar.console.print(f"step {training.step}, loss {mean_loss(training.losses, training.step):.4f}")
            if training.step % CHECKPOINT == 0 or training.step == settings.steps:
                training.save(paths[training.step <= settings.hold])


def mean_loss(losses, step):
    """Of the steps since the line before."""
    last = losses[max(0, step - LOG):step]
    return sum(last) / len(last)


def figures(folder, text):
    """What `training.json` says of the held-out text, from the files as they are loaded."""
    model, tokenizer = load(folder)
    context = model.config.n_positions
    score, apart = (evaluate(model, tokenizer, text, stride) for stride in (context // 2, context))
    first = evaluate(model, tokenizer, text, windows=FIRST)
    return {
        "sha256": digest(text), "stride": context // 2, "tokens": score.tokens, "characters": score.characters,
        "bits_per_character": score.bits_per_character, "perplexity_per_token": score.perplexity,
        "first_windows": {"windows": FIRST, "bits_per_character": first.bits_per_character},
        "without_overlap": {"stride": context, "bits_per_character": apart.bits_per_character,
                            "perplexity_per_token": apart.perplexity},
    }


def write(folder, training, tokenizer, train_text, held_out):
    """The model's folder: weights, configuration, tokenizer, held-out text, record of the training."""
    folder.mkdir(parents=True, exist_ok=True)
    training.model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "held_out.txt").write_text(held_out, encoding="utf-8")
    losses = training.losses
    content = {
        "settings": asdict(training.settings),
        "parameters": training.model.num_parameters(),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "training_text": {"sha256": digest(train_text), "characters": len(train_text), "tokens": len(training.ids)},
        "held_out": figures(folder, held_out),
        "losses": [{"step": step, "nats_per_token": round(mean_loss(losses, step), 4)}
                   for step in range(LOG, len(losses) + 1, LOG)],
    }
    (folder / "training.json").write_text(json.dumps(content, indent=1) + "\n")
    return content["held_out"]


@click.command()
@click.option("--steps", type=click.IntRange(1), default=Settings.steps, show_default=True)
@click.option("--decay", type=click.IntRange(1), default=Settings.decay, show_default=True,
              help="The last steps, over which the rate falls.")
@click.option("--threads", type=click.IntRange(1), default=Settings.threads, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=FOLDER, show_default="the package's",
              help="Where the model is written.")
@click.option("--checkpoints", type=click.Path(path_type=Path, file_okay=False), default=None,
              show_default="build/kjv", help="Where the run's state is kept; a run goes on from what is there.")
def main(steps, decay, threads, out, checkpoints):
    """Train the default language model.

    Where others use the cores too, the environment variable OMP_WAIT_POLICY=passive helps a lot.
    """
    if decay > steps:
        raise click.UsageError(f"--decay {decay} is more than --steps {steps}")
    try:
        train_text, held_out = split(verses())
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    torch.set_num_threads(threads)
    tokenizer = train_tokenizer(train_text)
    ids = torch.tensor(tokenizer.encode(train_text).ids)
    console = Console()
    console.print(f"{len(train_text):,} characters to learn from, {len(ids):,} tokens; "
                  f"{len(held_out):,} characters held out")
    training = Training(Settings(steps=steps, decay=decay, threads=threads), ids, tokenizer.get_vocab_size())
    try:
        run(training, checkpoints or build_root() / "kjv", console)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    score = write(out, training, tokenizer, train_text, held_out)
    console.print(f"held out: {score['bits_per_character']:.4f} bits per character")


if __name__ == "__main__":
    main()
