"""What ``olivine bench --pnr`` shows: the stage of each design, and two tables."""

from rich import box
from rich.table import Table

from ..fpga.view import FlowView
from . import pnr

__all__ = ["measured", "show"]


def measured(names, config, seed=0):
    """Records of the named measurements, of all if none is named, with progress and tables.

    One that does not fit its part, or has no design yet, is told and left out.
    """
    from ..fpga.flow import DoesNotFit
    known = pnr.listing()
    for name in names:
        if name not in known:
            raise ValueError(f"measurement is {name!r}: allowed are {', '.join(known)}")
    view, records = FlowView(), []
    for name in names or known:
        with view.running(f"{name}: {known[name]}, preset {config.name}"):
            try:
                records.append(pnr.measure(name, config, seed=seed, progress=view.progress))
            except (DoesNotFit, ValueError) as error:
                if names:
                    raise
                view.say(f"{name}: {error}")
    show(view, records)
    return records


def _table(*columns):
    table = Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def show(view, records):
    """Tables of the routed designs, their slowest paths, and the share of the decoders."""
    routed = [record for record in records if "fmax_mhz" in record]
    if routed:
        table = _table("design", "MHz", "target", "LUTs", "flip-flops", "multipliers", "block RAMs", "seed")
        for record in routed:
            table.add_row(record["name"], f"{record['fmax_mhz']:.2f}", f"{record['target_mhz']:g}",
                          f"{record['lut']:,}", f"{record['ff']:,}", str(record["dsp"]), str(record["bram"]),
                          str(record["seed"]))
        view.console.print(table)
        for record in routed:
            if path := record["path"]:
                view.say(f"{record['name']}: {path['ns']} ns, {path['wires_ns']} of them wires: {path['from']} -> "
                         f"{path['to']}")
    for record in records:
        if "gates" in record:
            _show_share(view, record)


def _show_share(view, record):
    table = _table("unit", "gate equivalents", "cells", "flip-flops", "gates in a row")
    for name, counted in record["gates"].items():
        table.add_row(name, f"{counted['area']:,}", f"{counted['cells']:,}", f"{counted['flip_flops']:,}",
                      str(counted["depth"]))
    view.console.print(table)
    for element, share in record["share"].items():
        view.say(f"Decoders, element {element}: {share['gates']:.1%} of decoders and array in gates, "
                 f"{share['luts']:.1%} in LUTs; the OliVe paper: {record['paper_share']:.1%} in area")
