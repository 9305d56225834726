"""How well the float model predicts a text: bits per character, and perplexity per token.

The text goes through the model in windows of 256 tokens. By default a window begins 128 tokens after the one before
it, and only the tokens that no window scored yet are scored in it: every token but the first of the text is scored
once, those behind the first window with at least 128 tokens of context (129 to 256 with all windows full). With a
stride of 256 windows do not overlap, and a token has 1 to 256 tokens of context.

``python -m olivine_host.kjv.evaluate`` prints the figures of the held-out text.
"""

import math
from dataclasses import dataclass

import click
import torch
from torch.nn.functional import cross_entropy

from .load import FOLDER, held_out_text, load

__all__ = ["Score", "evaluate"]

BATCH = 16
"""Windows that run together."""


@dataclass(frozen=True)
class Score:
    """Prediction of a text.

    Parameters
    ----------
    nats : float
        Cross entropy, summed over the scored tokens.
    tokens, characters : int
        Scored, that is without the first token.
    """

    nats: float
    tokens: int
    characters: int

    @property
    def bits_per_character(self):
        return self.nats / math.log(2) / self.characters

    @property
    def perplexity(self):
        """Of a token."""
        return math.exp(self.nats / self.tokens)


def evaluate(model, tokenizer, text, stride=None, windows=None):
    """`Score` of a text, or of what its first ``windows`` windows score.

    Parameters
    ----------
    model : GPT2LMHeadModel
    tokenizer : Tokenizer
    stride : int or None
        Tokens from one window to the next, at most the model's context; None is half of it.
    """
    context = model.config.n_positions
    stride = context // 2 if stride is None else stride
    if not 1 <= stride <= context:
        raise ValueError(f"stride {stride} is not in 1..{context}")
    encoding = tokenizer.encode(text)
    ids = torch.tensor(encoding.ids)
    if len(ids) < 2:
        raise ValueError(f"a text of {len(ids)} tokens has nothing to score")
    starts = [0, *range(stride, len(ids) - 1 - (context - stride), stride)][:windows]
    full = [start for start in starts if start + context < len(ids)]
    groups = [full[first:first + BATCH] for first in range(0, len(full), BATCH)]
    groups += [[start] for start in starts[len(full):]]
    nats, scored = 0.0, 1
    with torch.inference_mode():
        for group in groups:
            rows = torch.stack([ids[start:start + context + 1] for start in group])
            logits = model(input_ids=rows[:, :-1], use_cache=False).logits
            losses = cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none").double()
            for start, row in zip(group, losses):
                fresh = row[scored - 1 - start:]
                nats += float(fresh.sum())
                scored += len(fresh)
    first, last = encoding.offsets[1][0], encoding.offsets[scored - 1][1]
    return Score(nats, scored - 1, last - first)


@click.command()
@click.option("--model", "folder", type=click.Path(exists=True, file_okay=False), default=FOLDER, show_default=True)
@click.option("--stride", type=click.IntRange(1, 256), default=128, show_default=True)
def main(folder, stride):
    """Figures of a model's held-out text."""
    score = evaluate(*load(folder), held_out_text(folder), stride)
    click.echo(f"{score.bits_per_character:.4f} bits per character, perplexity {score.perplexity:.3f} per token "
               f"({score.tokens:,} tokens, {score.characters:,} characters, stride {stride})")


if __name__ == "__main__":
    main()
