"""H2O in float, step by step beside the integers: does it drop the same key, and if not, how close was it?

A decode step in float: softmax over the kept keys in fp32, each key's probabilities added to its sum, and of the keys
older than the newest ones the smallest sum is dropped, of equal ones the oldest.

The integers and the float step start from the same sums. Their increments then differ, for each row that sees the
key, by

* a unit of 2**-20, half of it from the table of weights and half from the shift;
* a factor of 2**e: a score is rounded to 2**-8 octaves (`SCORE_ERROR`), so are the scores under the log-sum-exp
  (once more as much), and the log-sum-exp itself is off by up to `LSE_ERROR`.

Two keys can be in another order only where their sums are nearer than both their bounds.

Source: *H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models*, NeurIPS 2023.
"""

import numpy as np
import torch

from ..quantize.heads import LOG2_E

__all__ = ["SCORE_ERROR", "LSE_ERROR", "UNIT", "RELATIVE", "probabilities", "VictimComparison"]

SCORE_ERROR = 2.0 ** -9
"""Octaves: a score's rounding."""

LSE_ERROR = 0.012
"""Octaves: the log-sum-exp of the integers beside that of the same scores, pages of 64 keys
(``tests/attention/test_golden_accuracy.py``)."""

UNIT = 2.0 ** -20
"""Of a sum; so much a weight may be off by its own rounding."""

RELATIVE = 2.0 ** (2 * SCORE_ERROR + LSE_ERROR) - 1 + 2.0 ** -16
"""Of a probability; the last term is fp32's own error."""


def probabilities(logits, seen):
    """Softmax in fp32 of ``logits`` [rows, cells] over the cells ``seen`` [cells], summed over rows, and the rows'
    binary log-sum-exp; float64."""
    logits = torch.as_tensor(np.asarray(logits), dtype=torch.float32).masked_fill(~torch.as_tensor(seen), -torch.inf)
    return (torch.softmax(logits, dim=1).sum(0).double().numpy(),
            torch.logsumexp(logits, dim=1).double().numpy() * LOG2_E)


class VictimComparison:
    """Judges the victims of one layer and KV head, one token a step.

    Parameters
    ----------
    cells, recent : int
        As of `olivine_golden.heavy_hitter.HeavyHitter`.

    Attributes
    ----------
    steps, same : int
        Steps with a victim, and those in which the float step takes it too.
    gaps : list of (gap, bound)
        Of the other steps: by how much the float sum of the integers' victim is above that of the float victim, and
        how much rounding allows.
    ties : int
        Of these steps, those in which the integers are equal and the older position decided.
    newest : int
        Steps whose victim had just left the recent ones: those say little.
    pairs, ordered : int
        Candidates that follow each other in the integers' order, in all steps, and those in the same order in float.
    worst_pair : float
        Of the others the largest gap, as a share of its bound: whoever may be dropped in later steps is judged too.
    same_alone : int
        Steps in which a float model takes the victim that has kept sums of its own from the beginning.
    worst_sum : float
        Largest error of a sum beside those, as a share of its bound, which grows with every row.
    worst_lse : float
        Largest error of a log-sum-exp, octaves; the bounds take it for at most ``LSE_ERROR + SCORE_ERROR``.
    """

    def __init__(self, cells, recent):
        self.recent = recent
        self.steps = self.same = self.ties = self.newest = self.same_alone = 0
        self.pairs = self.ordered = 0
        self.gaps, self.worst_pair, self.worst_sum, self.worst_lse = [], 0.0, 0.0, 0.0
        self._alone, self._rows = np.zeros(cells), np.zeros(cells, np.int64)

    def judge(self, before, after, positions, logits, lse, victim):
        """One step.

        Parameters
        ----------
        before, after : int64 [cells]
            The golden model's sums before and after it adds; the new token's is 0 before.
        positions : int64 [cells]
            Of tokens before one is dropped, -1 in free cells.
        logits : float [rows, cells]
            Of the same integer queries and keys, natural.
        lse : int64 [rows]
            The golden model's, 8 fractional bits.
        victim : int or None
            Cell that the golden model drops.
        """
        seen = positions >= 0
        added, exact = probabilities(logits, seen)
        self.worst_lse = max(self.worst_lse, float(np.abs(lse / 256 - exact).max()))
        self._alone += added
        self._rows[seen] += len(logits)
        error = np.abs(after * UNIT - self._alone)[seen] / self._bounds(self._alone, self._rows)[seen]
        self.worst_sum = max(self.worst_sum, float(error.max()))
        if victim is None:
            return
        older = np.flatnonzero(seen & (positions <= positions.max() - self.recent))
        floats, bounds = before * UNIT + added, self._bounds(added, len(logits))

        def order(sums):
            return older[np.lexsort((positions[older], sums[older]))]

        wanted, alone = order(floats)[0], order(self._alone)[0]
        units = order(after)
        gaps = floats[units[:-1]] - floats[units[1:]]
        self.pairs += len(gaps)
        self.ordered += int((gaps <= 0).sum())
        self.worst_pair = max(self.worst_pair, float((gaps / (bounds[units[:-1]] + bounds[units[1:]])).max(initial=0)))
        self.steps += 1
        self.same += int(victim == wanted)
        self.same_alone += int(victim == alone)
        self.newest += int(positions[victim] == positions[older].max())
        if victim != wanted:
            pair = [victim, wanted]
            self.ties += int(after[victim] == after[wanted])
            self.gaps.append((float(np.subtract(*floats[pair])), float(bounds[pair].sum())))
        self._alone[victim] = self._rows[victim] = 0

    @staticmethod
    def _bounds(added, rows):
        return RELATIVE * added + rows * UNIT
