"""``python -m olivine_host.kjv.accuracy``: every figure of docs/figures/accuracy.json, by the commands it names."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click

RUNS = (
    ("--format int8", 1.005),
    ("--format ovp4", 1.06),
    ("--format ovp4-tuned", 1.02),
    ("--format ovp4-tuned --cache ovp4", None),
    ("--format ovp4-tuned --eviction window:51 --windows 128", None),
    ("--format ovp4-tuned --eviction heavy:51 --windows 128", None),
    ("--format ovp4-tuned --eviction window:102 --windows 128", None),
    ("--format ovp4-tuned --eviction heavy:102 --windows 128", None),
)
"""Options of `olivine eval`, and the ratio of perplexities that was aimed at."""


def run(options):
    """What `olivine eval` says."""
    arguments = [sys.executable, "-c", "from olivine_host.cli import main; main()", "eval", *options.split(), "--json"]
    return json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(out):
    """Write the accuracy of the default model's quantized files to OUT, a JSON file (about 15 minutes)."""
    rows = []
    for options, target in RUNS:
        figures = run(options)
        for name in ("float", "integers"):
            figures[name]["perplexity"] = round(figures[name]["perplexity"], 4)
            # The machine's, not the model's.
            del figures[name]["tokens_per_second"]
        figures["ratio"] = round(figures["ratio"], 5)
        rows.append({"command": f"olivine eval {options} --json", "target": target, **figures})
        click.echo(f"{options}: {figures['ratio']}")
        versions = {name: version(name) for name in ("numpy", "torch", "tokenizers")}
        out.write_text(json.dumps({"text": "host/olivine_host/kjv/model/held_out.txt", "rows": "int12, results int16",
                                   "versions": versions, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
