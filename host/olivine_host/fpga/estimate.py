"""Timing before placement: the slowest paths of a netlist, with wires guessed from their fan-out.

A placement takes minutes to hours, this takes seconds behind synthesis: good enough to see which paths to cut. Delays
of cells are nextpnr's of speed grade 6; a wire is what wires of that fan-out took on average when the core of preset
``ecp5`` was placed, on a part of which it takes 88 %. The slowest paths have longer ones: units lie apart.
"""

import json
import math
from collections import Counter, defaultdict, deque
from dataclasses import dataclass

from .report import Place, place

__all__ = ["PathGroup", "grouped", "slow_paths"]

OUTPUT_NS = {"TRELLIS_FF": 0.52, "DP16KD": 4.4, "MULT18X18D": 0.74, "EHXPLLL": 0.0}
"""Cells that end paths and begin new ones: from the clock to an output."""

CLOCKS = {"CLK", "CLKA", "CLKB", "CLK0", "CLK1", "CLK2", "CLK3", "CLKI", "WCK"}
LUT_NS, MUX_NS = 0.24, 0.18
CARRY_NS = {("CIN", "COUT"): 0.07, ("CIN", "S0"): 0.44, ("CIN", "S1"): 0.44}
CARRY_START_NS = 0.45
"""From an operand to the carry; to a sum it is a LUT."""

PRODUCT_NS = 3.93
"""Of a multiplier, from its inputs or their registers to the product."""

WIRE_NS, READERS_NS = 0.6, 0.4
"""Of a wire to one reader, and more for twice as many."""

LINE_NS = 1.6
"""Of a global line."""


@dataclass(frozen=True)
class PathGroup:
    """Paths between two modules.

    Parameters
    ----------
    ns : float
        Of the slowest.
    count : int
        Endpoints among those that are too slow.
    start, end : Place
        Of the slowest.
    """

    ns: float
    count: int
    start: Place
    end: Place


def grouped(paths):
    """Paths, each (ns, start, end), as `PathGroup`, the slowest first."""
    groups = defaultdict(list)
    for ns, start, end in paths:
        groups[start.module, end.module].append((ns, start, end))
    slowest = [PathGroup(round(ns, 2), len(group), start, end)
               for group in groups.values() for ns, start, end in [max(group, key=lambda path: path[0])]]
    return sorted(slowest, key=lambda group: -group.ns)


class _Netlist:
    """Yosys's JSON of one flat module, as a graph of arcs between nets."""

    def __init__(self, text, top):
        module = json.loads(text)["modules"][top]
        self.names = {}
        for name, net in module["netnames"].items():
            for bit in net["bits"]:
                known = self.names.get(bit)
                if known is None or ("$" in known, len(known)) > ("$" in name, len(name)):
                    self.names[bit] = name
        self.readers, self.ends, self.starts, self.lines = Counter(), [], {}, set()
        self.inputs, self.outputs = defaultdict(list), {}
        for number, cell in enumerate(module["cells"].values()):
            self._add(number, cell)

    def _add(self, number, cell):
        kind, ports = cell["type"], {"input": [], "output": [], "inout": []}
        for port, bits in cell["connections"].items():
            ports[cell["port_directions"][port]] += [(port, bit) for bit in bits if isinstance(bit, int)]
        for _, bit in ports["input"]:
            self.readers[bit] += 1
        outputs = [bit for _, bit in ports["output"]]
        registers = [name for name in cell.get("parameters", ()) if name.startswith("REG_")]
        if kind == "DCCA":
            self.lines |= set(outputs)
        if (kind in OUTPUT_NS and (kind != "MULT18X18D" or registers)) or kind == "TRELLIS_IO":
            late = kind == "MULT18X18D" and "REG_OUTPUT_CLK" not in registers
            self.starts |= dict.fromkeys(outputs, PRODUCT_NS if late else OUTPUT_NS.get(kind, 0.0))
            named = outputs[0] if outputs else None
            self.ends += [(bit, bit if named is None else named) for port, bit in ports["input"]
                          if port not in CLOCKS]
            return
        through = ports["input"]
        if kind == "TRELLIS_DPR16X4":
            through = [(port, bit) for port, bit in through if port == "RAD"]
            self.ends += [(bit, outputs[0]) for port, bit in ports["input"] if port in ("DI", "WAD", "WRE") and outputs]
        self.outputs[number] = [(out, [(bit, *self._arc(kind, source, target)) for source, bit in through])
                                for target, out in ports["output"]]
        for bit in {bit for _, bit in through}:
            self.inputs[bit].append(number)

    @staticmethod
    def _arc(kind, source, target):
        """Delay inside the cell, and whether there is a wire before it."""
        if kind == "CCU2C":
            if source == "CIN":
                return CARRY_NS[source, target], False
            return CARRY_START_NS if target == "COUT" else LUT_NS, True
        if kind in ("PFUMX", "L6MUX21"):
            return MUX_NS, source in ("C0", "SD")
        if kind == "MULT18X18D":
            return PRODUCT_NS, True
        return LUT_NS, True

    def wire(self, bit):
        """Delay of a net."""
        return LINE_NS if bit in self.lines else WIRE_NS + READERS_NS * math.log2(max(1, self.readers[bit]))

    def arrivals(self):
        """When each net settles, and from which one that comes."""
        driven = set(self.starts) | {out for outs in self.outputs.values() for out, _ in outs}
        missing = {number: len({bit for _, arcs in outs for bit, *_ in arcs if bit in driven})
                   for number, outs in self.outputs.items()}
        arrival, origin = dict(self.starts), {bit: bit for bit in self.starts}
        ready = deque(number for number, count in missing.items() if count == 0)
        settled = deque(self.starts)
        while ready or settled:
            while settled:
                for number in self.inputs[settled.popleft()]:
                    missing[number] -= 1
                    if missing[number] == 0:
                        ready.append(number)
            if ready:
                for out, arcs in self.outputs[ready.popleft()]:
                    at = [(arrival[bit] + inside + (self.wire(bit) if wired else 0), bit)
                          for bit, inside, wired in arcs if bit in arrival]
                    arrival[out], source = max(at, default=(0.0, None))
                    origin[out] = origin.get(source, out)
                    settled.append(out)
        return arrival, origin


def slow_paths(text, limit_ns, top="top", inner=""):
    """Paths slower than a limit, by the modules that they join, the slowest first.

    Parameters
    ----------
    text : str
        Yosys's JSON netlist, flat, of ECP5's cells.
    limit_ns : float
    top : str
        The module.
    inner : str
        Beginning of names to leave out.

    Returns
    -------
    list of PathGroup
    """
    netlist = _Netlist(text, top)
    arrival, origin = netlist.arrivals()
    late = [(ns, origin[bit], named) for bit, named in netlist.ends
            if bit in arrival and (ns := arrival[bit] + netlist.wire(bit)) > limit_ns]
    return grouped((ns, place(netlist.names[start], inner), place(netlist.names[end], inner))
                   for ns, start, end in late)
