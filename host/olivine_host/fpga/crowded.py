"""How a design is placed and routed that nearly fills the part.

Wires are what it lacks then. nextpnr's first router takes them one by one and makes way where one is taken; its second
lets nets share wires at first and raises what that costs, until nobody shares. How fast it raises that decides whether
it comes to an end: with its own weights it stands still while thousands of the core's wires are shared.
"""

import re

from .nets import GLOBAL, MEMORY

__all__ = ["AIM", "CROWDED", "LENGTH", "ROUTING", "is_crowded", "targets_of", "aims", "route_by_sharing",
           "keep_targets"]

CROWDED = 0.8
"""Share of a part's block RAMs from which on a design counts as crowded."""

LENGTH = ["--no-tmdriv"]
"""nextpnr's option for the first placement, of which only the sites of memories are kept: by length alone it takes half
the time."""

ROUTING = {
    "router": "router2", "router2/alt-weights": "1",
    "router2/histCongWeight": "0.5",        # what a wire costs more for each round in which it was shared
    "router2/currCongWeightMult": "0.5",    # what sharing a wire costs more with each round
}
"""nextpnr's settings for routing, by name; most have no option. Decision 023 has others and where they stand still."""

AIM = 80.0
"""MHz. How critical a connection is nextpnr tells by how far its slowest path misses the clock, and where none does all
are equally critical. So it is asked for more than a crowded design reaches, whatever its clocks are (decision 024)."""


def is_crowded(cells, capacity):
    """Whether ``cells``, a number by kind, nearly fill a part of this ``capacity``."""
    return cells.get(MEMORY, 0) > CROWDED * capacity[MEMORY]


def targets_of(log):
    """Frequencies in MHz that clocks should have, by net, as the log of a placement says: nextpnr derives those behind
    a PLL from the constraint of its pin."""
    return {name: float(mhz) for name, mhz in re.findall(
        r"Max frequency for clock +'(\S+)': +[\d.]+ MHz \(\w+ at ([\d.]+) MHz\)", log)}


def aims(targets):
    """Constraints, lines of an LPF, with which nextpnr aims at `AIM`, or at a target that is higher."""
    return "".join(f'FREQUENCY NET "{name.removeprefix(GLOBAL)}" {max(mhz, AIM):g} MHZ;\n'
                   for name, mhz in sorted(targets.items()))


def route_by_sharing(placed, top="top"):
    """Have nextpnr route ``placed``, its JSON after placement, changed in place, by `ROUTING`."""
    placed["modules"][top]["settings"] |= ROUTING


def keep_targets(report, targets):
    """Give the clocks of a report their `targets_of` in place of what was aimed at; changed in place."""
    for name, clock in report["fmax"].items():
        clock["constraint"] = targets[name]
