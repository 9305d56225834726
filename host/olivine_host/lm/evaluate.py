"""How well a model predicts a text: perplexity per token, in float and of what the hardware computes.

The text goes through in windows of the model's context. A window begins half a context after the one before it, and
only the tokens that no window scored yet are scored in it: `olivine_host.kjv.evaluate` describes the same. With a
small cache a window's first half is its prompt: heavy hitters take it in whole chunks, then token by token.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
from olivine.kvcache.descriptor import CachePolicy
from olivine_golden.decoder.cache import KEEP_ALL

__all__ = ["Score", "Windows", "float_logits", "integer_logits", "score"]

BATCH = 4
"""Windows that run together: what is in flight stays in the processor's caches."""

HITTER_BATCH = 64
"""The same of heavy hitters, whose steps are one token of each window."""


@dataclass(frozen=True)
class Score:
    """Prediction of a text.

    Parameters
    ----------
    nats : float
        Cross entropy, summed over the scored tokens.
    scored, computed : int
        Tokens that were scored, and that went through the model.
    seconds : float
    """

    nats: float
    scored: int
    computed: int
    seconds: float

    @property
    def perplexity(self):
        return math.exp(self.nats / self.scored)

    @property
    def speed(self):
        """Tokens a second through the model."""
        return self.computed / self.seconds


class Windows:
    """A text's windows.

    Parameters
    ----------
    ids : int array [N]
        At least two tokens.
    context : int
    limit : int or None
        Only so many windows, spread evenly.
    last : bool
        Score only the second half of full windows: what a small cache leaves of the first is at work there.

    Attributes
    ----------
    parts : list of (ids [tokens + 1], first)
        Of each window its tokens and the one behind, and the first place whose prediction is scored.
    """

    def __init__(self, ids, context, limit=None, last=False):
        ids = np.asarray(ids)
        if len(ids) < 2:
            raise ValueError(f"a text of {len(ids)} tokens has nothing to score")
        stride = max(context // 2, 1)
        self.parts, scored = [], 0
        for start in [0, *range(stride, len(ids) - 1 - (context - stride), stride)]:
            part = ids[start:start + context + 1]
            first = max(scored - start, stride if last else 0)
            scored = start + len(part) - 1
            if not last or len(part) == context + 1:
                self.parts.append((part, first))
        if not self.parts:
            raise ValueError(f"the text has {len(ids)} tokens: a full window needs {context + 1}")
        if limit is not None and limit < len(self.parts):
            keep = np.linspace(0, len(self.parts) - 1, limit).astype(int)
            self.parts = [self.parts[index] for index in keep]

    @property
    def tokens(self):
        """Tokens that go through the model."""
        return sum(len(part) - 1 for part, _ in self.parts)

    def batches(self, size):
        """Windows of the same length, up to ``size`` together: (ids [windows, tokens + 1], first places)."""
        batch = []
        for part, first in self.parts:
            if batch and (len(batch) == size or len(batch[0][0]) != len(part)):
                yield np.stack([ids for ids, _ in batch]), [place for _, place in batch]
                batch = []
            batch.append((part, first))
        yield np.stack([ids for ids, _ in batch]), [place for _, place in batch]


def float_logits(model):
    """Function from ids [windows, tokens] to logits of a `FloatModel`."""
    return model.forward


def integer_logits(decoder, logits_scale, policy=KEEP_ALL):
    """The same of a `Decoder`, with real logits."""
    def logits(ids):
        if policy.kind is not CachePolicy.HEAVY:
            return decoder.forward(ids, policy) * np.float32(logits_scale)
        half = ids.shape[1] // 2
        sequences = decoder.open(len(ids), policy)
        # The prompt's chunks are whole: a shorter one would come first.
        cuts = [*range(half % policy.chunk, half + 1, policy.chunk), *range(half + 1, ids.shape[1] + 1)]
        parts = [decoder.step([(sequences, ids[:, first:end])])[0]
                 for first, end in zip([0, *cuts], cuts) if first < end]
        return np.concatenate(parts, axis=1) * np.float32(logits_scale)
    return logits


def score(logits_of, windows, batch=BATCH, advance=lambda tokens: None):
    """`Score` of a function from ids to logits; ``advance(tokens)`` is called after each batch."""
    nats, scored, computed, seconds = 0.0, 0, 0, 0.0
    for ids, first in windows.batches(batch):
        began = time.perf_counter()
        logits = logits_of(ids[:, :-1])
        seconds += time.perf_counter() - began
        losses = _losses(logits, ids[:, 1:])
        for row, place in zip(losses, first):
            nats += float(row[place:].sum())
            scored += len(row) - place
        computed += losses.size
        advance(losses.size)
    return Score(nats, scored, computed, seconds)


def _losses(logits, targets):
    """Cross entropy float64 [windows, tokens]."""
    chosen = np.take_along_axis(logits, targets[..., None], 2)[..., 0]
    top = logits.max(-1)
    return (np.log(np.exp(logits - top[..., None]).sum(-1, dtype=np.float64)) + top - chosen).astype(np.float64)
