"""Timing after routing, of every register: nextpnr's delays, added up.

nextpnr names the slowest path of each clock. Whoever wants to cut paths asks how many others are too slow and where
they begin: this reads the delays of all cells and wires that it writes (SDF, ``--sdf``), slow corner.
"""

import gzip
import re
from collections import Counter, defaultdict, deque
from pathlib import Path

from .estimate import grouped
from .report import place

__all__ = ["late_registers", "keep_delays"]

_WIRE = re.compile(r"\(INTERCONNECT (\S+)/(\S+) (\S+)/(\S+) \(([\d.]+):([\d.]+):([\d.]+)\)")
_CELL = re.compile(r"\(INSTANCE (\S+)\)")
_INSIDE = re.compile(r"\(IOPATH (\S+) (\S+) \(([\d.]+):([\d.]+):([\d.]+)\)")
_SETUP = re.compile(r"\(SETUPHOLD \(posedge (\S+)\) \(\w+ \S+\) \((-?[\d.]+):(-?[\d.]+):(-?[\d.]+)\)")
_CLOCK = re.compile(r"W?CLK|WCK")
_PS = 1_000


def keep_delays(sdf):
    """Compress a file of delays: ten times as small. Returns the new file."""
    sdf = Path(sdf)
    kept = sdf.with_name(sdf.name + ".gz")
    with open(sdf, "rb") as source, gzip.open(kept, "wb", compresslevel=3) as target:
        while block := source.read(1 << 20):
            target.write(block)
    sdf.unlink()
    return kept


def late_registers(sdf, clock, limit_ns, inner=""):
    """Registers of a clock that data reaches later than a limit, by the modules that the paths join, the slowest first.

    Paths from other clocks' registers count as if their clocks were one.

    Parameters
    ----------
    sdf : path
        Of `keep_delays`.
    clock : str
        End of the clock net's name.
    limit_ns : float
        From the clock to the end of the setup.
    inner : str
        Beginning of names to leave out.

    Returns
    -------
    list of PathGroup
    """
    wires, inside, starts, setup, clocked = _read(sdf, clock)
    arrival, before = dict(starts), {}
    missing = Counter(target for arcs in (wires, inside) for targets in arcs.values() for target, _ in targets)
    settled = deque(pin for pin in {*wires, *inside, *starts} if not missing[pin])
    while settled:
        pin = settled.popleft()
        for target, delay in (*wires.get(pin, ()), *inside.get(pin, ())):
            if pin in arrival and arrival[pin] + delay > arrival.get(target, -1.0):
                arrival[target], before[target] = arrival[pin] + delay, pin
            missing[target] -= 1
            if not missing[target]:
                settled.append(target)
    late = []
    for end, needs in setup.items():
        if end[0] in clocked and end in arrival and (ns := arrival[end] + needs) > limit_ns:
            start = end
            while start in before:
                start = before[start]
            late.append((ns, place(start[0], inner), place(end[0], inner)))
    return grouped(late)


def _read(sdf, clock):
    """Arcs of wires and of cells, pins by (cell, name): ``{pin: [(pin, ns)]}``; ns from the clock to a register's
    output; setup by pin; cells on the clock."""
    wires, inside, starts, setup, clocked = defaultdict(list), defaultdict(list), {}, {}, set()
    cell = ""
    with gzip.open(sdf, "rt") as lines:
        for line in lines:
            if wire := _WIRE.search(line):
                source, target = wire.group(1, 2), wire.group(3, 4)
                wires[source].append((target, float(wire[7]) / _PS))
                if _CLOCK.match(target[1]) and source[0].replace("\\", "").endswith(clock):
                    clocked.add(target[0])
            elif arc := _INSIDE.search(line):
                if _CLOCK.match(arc[1]):
                    starts[cell, arc[2]] = float(arc[5]) / _PS
                else:
                    inside[cell, arc[1]].append(((cell, arc[2]), float(arc[5]) / _PS))
            elif check := _SETUP.search(line):
                setup[cell, check[1]] = float(check[4]) / _PS
            elif named := _CELL.search(line):
                cell = named[1]
    return wires, inside, starts, setup, clocked
