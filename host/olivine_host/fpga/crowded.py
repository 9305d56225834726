"""How a design is placed and routed that nearly fills the part.

Wires are what it lacks then. nextpnr's first router takes them one by one and makes way where one is taken; its second
lets nets share wires at first and raises what that costs, until nobody shares. How fast it raises that decides whether
it comes to an end: what its own weights leave shared, a tenth of the core's wires, it never parts.
"""

from .nets import MEMORY

__all__ = ["CROWDED", "LENGTH", "ROUTER", "WEIGHTS", "is_crowded", "set_weights"]

CROWDED = 0.8
"""Share of a part's block RAMs from which on a design counts as crowded."""

LENGTH = ["--no-tmdriv"]
"""nextpnr looks at the length of wires alone, in both placements and in routing: with an eye on time, wires are longer
by 2 % and three times as many rounds are needed, if there is an end."""

ROUTER = ["--router", "router2", "--router2-alt-weights"]

WEIGHTS = {"router2/histCongWeight": "0.5", "router2/currCongWeightMult": "0.5"}
"""Settings that have no option: what a wire costs more for each round in which it was shared, and what sharing costs
more with each round. With 1 and 0 it stands still at 4,000 shared wires of the core, with 1 and 0.5 at 150 and with 0.2
and 1 at 20, with 3 and 0.7 far above; with these it ends after 140 rounds of a few seconds."""


def is_crowded(cells, capacity):
    """Whether ``cells``, a number by kind, nearly fill a part of this ``capacity``."""
    return cells.get(MEMORY, 0) > CROWDED * capacity[MEMORY]


def set_weights(netlist, top="top"):
    """Have nextpnr find `WEIGHTS` in ``netlist``, Yosys's JSON, changed in place."""
    netlist["modules"][top].setdefault("settings", {}).update(WEIGHTS)
