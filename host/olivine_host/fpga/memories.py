"""Block RAMs get the sites where their wires are shortest, when nearly all sites are taken.

nextpnr's static placer moves cells as if they could overlap, and then gives each block RAM the nearest site that is
still free. Where few are left that is far from where it should lie, and everything else follows. So such a design is
placed twice: after the first time the memories are dealt out anew over the sites that they have, all at once and by the
wires to cells as these lie then; the second time they stay there, as multipliers do from the start.
"""

import re
from collections import defaultdict

import numpy as np
from scipy.optimize import linear_sum_assignment

from .nets import MEMORY

__all__ = ["ROUNDS", "WIDEST", "memory_places", "keep_places"]

ROUNDS = 3
"""Memories that share wires move together, so a second look finds more."""

CLOCKS = {"CLKA", "CLKB", "CLK", "WCK"}

WIDEST = 1_500
"""Ends of a net that is worth a look: wider ones lie everywhere."""


def memory_places(placed, top="top"):
    """Sites of block RAMs.

    Parameters
    ----------
    placed : dict
        nextpnr's JSON after placement.

    Returns
    -------
    dict
        ``{cell: site}``, a permutation of the sites that they have.
    """
    cells = placed["modules"][top]["cells"]
    sites = {name: cell["attributes"]["NEXTPNR_BEL"] for name, cell in cells.items()
             if "NEXTPNR_BEL" in cell["attributes"]}
    at = {name: np.array([int(part) for part in re.match(r"X(\d+)/Y(\d+)/", site).groups()])
          for name, site in sites.items()}
    memories = [name for name in at if cells[name]["type"] == MEMORY]
    nets = _nets(cells, at, set(memories))
    taken = [sites[name] for name in memories]
    places = np.array([at[name] for name in memories]).reshape(-1, 2)
    best, shortest = dict(zip(memories, taken)), _length(nets, at)
    for _ in range(ROUNDS if memories else 0):
        chosen = linear_sum_assignment([_costs(name, nets, at, places) for name in memories])[1]
        at |= {name: places[site] for name, site in zip(memories, chosen)}
        if (length := _length(nets, at)) < shortest:
            best, shortest = {name: taken[site] for name, site in zip(memories, chosen)}, length
    return best


def _nets(cells, at, memories):
    """The ends, by name, of each net that a memory is on."""
    ends = defaultdict(set)
    for name in at:
        for port, bits in cells[name]["connections"].items():
            if port not in CLOCKS:
                for bit in bits:
                    ends[bit].add(name)
    return [names for names in ends.values() if 1 < len(names) <= WIDEST and not names.isdisjoint(memories)]


def _length(nets, at):
    """Half the perimeters of the nets' boxes, in columns and rows."""
    return sum(int(np.ptp([at[name] for name in names], axis=0).sum()) for names in nets)


def _costs(memory, nets, at, places):
    """By how much the boxes of a memory's nets grow when it lies at each of ``places``."""
    costs = np.zeros(len(places))
    for names in nets:
        if memory in names:
            others = np.array([at[name] for name in names if name != memory])
            outside = np.maximum(others.min(axis=0) - places, places - others.max(axis=0))
            costs += np.maximum(outside, 0).sum(axis=1)
    return costs


def keep_places(netlist, places, top="top"):
    """Have nextpnr put cells where ``places``, ``{cell: site}``, says; ``netlist``, Yosys's JSON, changed in place."""
    for name, site in places.items():
        netlist["modules"][top]["cells"][name]["attributes"]["BEL"] = site
