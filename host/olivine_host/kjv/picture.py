"""``python -m olivine_host.kjv.picture``: the course of fine-tuning, from its log."""

import json
from pathlib import Path

import click

from .paths import QUANTIZED
from .quantize import LOG


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(out):
    """Draw the log of fine-tuning to OUT (.png, .svg)."""
    from matplotlib.figure import Figure
    record = json.loads((QUANTIZED / LOG).read_text())
    steps, losses = zip(*((entry["step"], entry["nats_per_token"]) for entry in record["log"]))
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="divergence, nats a token", ylim=(0, 1.1 * max(losses)))
    axes.plot(steps, losses, color="#b5651d")
    axes.set_title("ovp4 in groups of 64, from the compensated weights on; mean of 20 steps", fontsize=9)
    axes.grid(alpha=0.3)
    figure.savefig(out, dpi=110, metadata={"Software": None} if out.suffix == ".png" else None)


if __name__ == "__main__":
    main()
