"""From logits to the next token."""

from dataclasses import dataclass

import numpy as np

__all__ = ["LARGEST", "Logits", "Sampling", "Sampler"]

LARGEST = 8
"""Logits of a row that the core can pick out itself."""


@dataclass(frozen=True)
class Logits:
    """What a step says of one row.

    Parameters
    ----------
    values : int array
        Logits: of the whole vocabulary, or, with ``indices``, the largest in falling order.
    indices : int array or None
    """

    values: np.ndarray
    indices: np.ndarray | None = None


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Parameters
    ----------
    temperature : float
        0 takes the largest logit, of equal ones that with the smallest index.
    top_k : int
        Only the k largest; 0: all.
    top_p : float
        Only the most probable ones that together have this probability.
    seed : int
        With the number of the prompt it fixes every choice, whatever else is in the batch.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name, good, allowed in (("temperature", self.temperature >= 0, "0 or more"),
                                    ("top_k", self.top_k >= 0, "0 or more"),
                                    ("top_p", 0 < self.top_p <= 1, "more than 0, at most 1")):
            if not good:
                raise ValueError(f"{name} is {getattr(self, name)}: allowed is {allowed}")

    @property
    def largest_suffice(self):
        """Whether the eight largest logits decide."""
        return self.temperature == 0 or 0 < self.top_k <= LARGEST


class Sampler:
    """Chooses the tokens of one sequence.

    Parameters
    ----------
    sampling : Sampling
    number : int
        Of the prompt.
    scale : float
        Natural logarithm of one step of the logits.
    """

    def __init__(self, sampling, number, scale):
        self.sampling, self.scale = sampling, scale
        self._rng = np.random.default_rng((sampling.seed, number))

    def __call__(self, logits):
        sampling = self.sampling
        if logits.indices is None:
            # Stable: of equal logits the smaller index comes first, as the core orders them.
            order = np.argsort(-logits.values.astype(np.int64), kind="stable")
            values = logits.values[order]
        else:
            order, values = logits.indices, logits.values
        if sampling.temperature == 0:
            return int(order[0])
        if sampling.top_k:
            order, values = order[:sampling.top_k], values[:sampling.top_k]
        weights = np.exp((values.astype(np.float64) - values[0]) * self.scale / sampling.temperature)
        weights /= weights.sum()
        kept = int(np.searchsorted(np.cumsum(weights), sampling.top_p)) + 1
        weights = weights[:kept] / weights[:kept].sum()
        return int(order[self._rng.choice(len(weights), p=weights)])
