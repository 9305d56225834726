"""The demonstration as a whole: one text, one layer, three policies."""

from dataclasses import dataclass

import numpy as np

from .data import CausalLayer
from .policies import Run, budget, full, heavy_hitters, window

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Three policies on one text.

    Parameters
    ----------
    layer : CausalLayer
    runs : list of Run
        All keys, window, heavy hitters.
    mass : float64 [heads, T, T]
        Probabilities with all keys.
    """

    layer: CausalLayer
    runs: list
    mass: np.ndarray

    @property
    def hitters(self) -> Run:
        return self.runs[2]

    def victims(self):
        """Steps with a victim in all heads, and those in which H2O in float drops the same key."""
        comparisons = self.hitters.comparisons
        return sum(one.steps for one in comparisons), sum(one.same for one in comparisons)


def compare(layer, backend, share, advance=lambda: None):
    """The `Comparison` with ``share`` of the text's tokens as budget; ``advance()`` is called after each token."""
    heavy, recent = budget(len(layer.tokens), share)
    # First, because it may be refused.
    hitters = heavy_hitters(layer, backend, heavy, recent, advance)
    everything, mass = full(layer, backend)
    return Comparison(layer, [everything, window(layer, backend, heavy + recent + 1), hitters], mass)
