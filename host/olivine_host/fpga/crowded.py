"""How a design is placed and routed that nearly fills the part.

Wires are what it lacks then. nextpnr's first router takes them one by one and makes way where one is taken; its second
lets nets share wires at first and raises what that costs, until nobody shares. How fast it raises that decides whether
it comes to an end: with its own weights it stands still while thousands of the core's wires are shared.
"""

import re

from .nets import MEMORY

__all__ = ["AIM", "CROWDED", "LENGTH", "REACH", "ROUTING", "is_crowded", "route_by_sharing", "aims", "keep_targets"]

CROWDED = 0.8
"""Share of a part's block RAMs from which on a design counts as crowded."""

LENGTH = ["--no-tmdriv"]
"""nextpnr's option for the first placement, of which only the sites of memories are kept: by length alone it takes half
the time."""

ROUTING = {
    "router": "router2", "router2/alt-weights": "1",
    "router2/histCongWeight": "0.5",        # what a wire costs more for each round in which it was shared
    "router2/currCongWeightMult": "0.5",    # what sharing a wire costs more with each round
    "router/tmg_ripup": "1",                # what is later than `aims` say is routed anew, though it shares no wire
}
"""nextpnr's settings for routing, by name; most have no option. Decision 023 has others and where they stand still."""


AIM, REACH = 1.04, 1.15
"""What the router aims at, of the frequencies that the placement is estimated to reach: a little more, and up to so
much more where that is the target. A wire that went a long way around in an early round stays there, sharing with
nobody, unless something is wrong with it; and one path that is estimated to be late must not lower the aim of all
others."""

_ESTIMATE = re.compile(r"Max frequency for clock +'(\S+)': +([\d.]+) MHz \(\w+ at ([\d.]+) MHz\)")


def is_crowded(cells, capacity):
    """Whether ``cells``, a number by kind, nearly fill a part of this ``capacity``."""
    return cells.get(MEMORY, 0) > CROWDED * capacity[MEMORY]


def route_by_sharing(placed, top="top"):
    """Have nextpnr route ``placed``, its JSON after placement, changed in place, by `ROUTING`."""
    placed["modules"][top]["settings"] |= ROUTING


def aims(log):
    """Constraints for the routing, by the log of the placement: see `AIM`; at most twice the target."""
    clocks = ((name, float(estimate), float(target)) for name, estimate, target in _ESTIMATE.findall(log))
    return "".join(
        f'FREQUENCY NET "{name}" {min(max(AIM * estimate, min(REACH * estimate, target)), 2 * target):.2f} MHZ;\n'
        for name, estimate, target in clocks)


def keep_targets(report, log):
    """Give the clocks of a report the targets that they had when the design was placed, by the log of that: what
    nextpnr derives from the constraints of pins it does not write into its JSON. Changed in place."""
    targets = {name: target for name, _, target in _ESTIMATE.findall(log)}
    for name, clock in report["fmax"].items():
        clock["constraint"] = float(targets[name])
