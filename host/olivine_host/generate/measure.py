"""A generation with its figures, and the same generation on the golden model beside it."""

import time
from dataclasses import dataclass

import numpy as np
from olivine.control.registers import PROGRAM_COUNTERS
from olivine.kvcache.descriptor import CachePolicy

from ..bench.model_limits import step_limit

__all__ = ["CLOCK", "STATES", "Generation", "Phase", "generate", "differences", "phases"]

CLOCK = 100_000_000
"""Cycles a second for which speeds are computed. No claim is made that a device reaches it."""

STATES = ("array_busy", *(name for name in PROGRAM_COUNTERS if name.startswith("stall_")))
"""Counters that divide all cycles: what the array did in each."""


@dataclass(frozen=True)
class Generation:
    """What became of prompts.

    Parameters
    ----------
    completions : list of Completion
    costs : list of (list of Part, StepCost)
    seconds : float
        Wall-clock time of all steps.
    """

    completions: list
    costs: list
    seconds: float

    @property
    def tokens(self):
        """Tokens that were generated."""
        return sum(len(completion.tokens) for completion in self.completions)

    @property
    def cycles(self):
        return sum(cost.cycles for _, cost in self.costs)


def generate(device, prompts, **options):
    """`Generation` of `Device.generate`."""
    began = time.perf_counter()
    completions = device.generate(list(prompts), **options)
    return Generation(completions, list(device.costs), time.perf_counter() - began)


def differences(generation, golden):
    """Sentences: where a `Generation` is not that of the golden model, in tokens or in the last logits."""
    found = []
    for number, (one, other) in enumerate(zip(generation.completions, golden.completions, strict=True)):
        if one.tokens != other.tokens:
            place = next((at for at, pair in enumerate(zip(one.tokens, other.tokens)) if pair[0] != pair[1]),
                         min(len(one.tokens), len(other.tokens)))
            found.append(f"token {place} of continuation {number} differs")
        elif not _equal(one.logits, other.logits):
            found.append(f"the last logits of continuation {number} differ")
    return found


def _equal(one, other):
    if (one.indices is None) != (other.indices is None):
        return False
    return np.array_equal(one.values, other.values) and (one.indices is None
                                                         or np.array_equal(one.indices, other.indices))


@dataclass(frozen=True)
class Phase:
    """Steps of one kind together.

    Parameters
    ----------
    name : str
        ``"prefill"``: steps in which some sequence takes several tokens; ``"decode"``: all others.
    steps, tokens, cycles : int
    counters : dict
        Sums of `PROGRAM_COUNTERS`.
    limit : int or None
        The fewest cycles of any machine: the steps' limits, added. None where it is not known.
    limited_by : str
        What limits most of these cycles.
    """

    name: str
    steps: int
    tokens: int
    cycles: int
    counters: dict
    limit: int | None
    limited_by: str

    @property
    def ratio(self):
        """Limit by cycles, at most 1; None where there are none."""
        return self.limit / self.cycles if self.cycles and self.limit is not None else None

    def shares(self):
        """Share of the cycles that the array spent in each of `STATES`."""
        return {name: self.counters[name] / self.cycles for name in STATES}


def phases(config, decoder, costs):
    """List of `Phase` of a generation's steps; those that there are."""
    found = []
    for name, several in (("prefill", True), ("decode", False)):
        steps = [(parts, cost) for parts, cost in costs if any(len(part.tokens) > 1 for part in parts) == several]
        if not steps:
            continue
        limits = [_limit(config, decoder, parts) for parts, _ in steps]
        by = {}
        for limit in limits:
            if limit is not None:
                by[limit.limited_by] = by.get(limit.limited_by, 0) + limit.cycles
        counters = {counter: sum(cost.counters.get(counter, 0) for _, cost in steps) for counter in PROGRAM_COUNTERS}
        found.append(Phase(name, len(steps), sum(len(part.tokens) for parts, _ in steps for part in parts),
                           sum(cost.cycles for _, cost in steps), counters,
                           None if None in limits else sum(by.values()), max(by, key=by.get, default="")))
    return found


def _limit(config, decoder, parts):
    """`Limit` of a step; None where a window slides over several tokens, which the limit does not describe."""
    seen = []
    for part in parts:
        start, count, policy = part.start, len(part.tokens), part.policy
        if policy.kind is CachePolicy.WINDOW:
            if count > 1 and start + count > policy.window:
                return None
            start = min(start, policy.window - 1)
        elif policy.kind is CachePolicy.HEAVY:
            start = min(start, policy.heavy + policy.recent)
        seen.append((start, count))
    return step_limit(config, decoder, seen, sum(part.logits for part in parts))
