"""`olivine bench --pnr`: cells and frequency of units after place and route, and the decoders' share of the array."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from olivine.units import UNITS

from ..fpga import flow, tools
from ..fpga.boards import BOARDS, CORE, board_design, harnessed
from .records import compare as compare_records

__all__ = ["PnrEntry", "PNR", "OVP_SHARE", "listing", "measure", "routed_record", "compare", "FIGURES"]

OVP_SHARE = "ovp-share"

FIGURES = ("fmax_mhz", "lut", "ff", "dsp", "bram")
"""What is compared of a record."""


@dataclass(frozen=True)
class PnrEntry:
    """One measurement.

    Parameters
    ----------
    what : str
    build : callable
        From name, configuration, board to the `BoardDesign`.
    mhz : float or None
        Constraint of the clock; None for the design's own.
    wanted_mhz : float or None
        Target that the record tells, where it is not the constraint, such as a board's clock.
    clock : str
        How the name of the measured clock ends, if the design has several.
    board : str
    """

    what: str
    build: Callable[[str, Any, Any], Any]
    mhz: float | None
    wanted_mhz: float | None = None
    clock: str = ""
    board: str = "ulx3s-85f"


def _unit(unit, mhz):
    return lambda name, config, board: harnessed(name, UNITS[unit].build(config), board, config.name, mhz)


def _grown(rows, lanes, mhz):
    def build(name, config, board):
        # Only the array is built, so the presets' other sizes do not matter.
        grown = replace(config, rows=rows, lanes=lanes, tile_bytes=0, vector_cycles=1)
        return harnessed(name, UNITS["array"].build(grown), board, config.name, mhz)
    return build


def _core(name, config, board):
    return board_design(board, CORE, config)


ARRAY_MHZ = 125.0

PNR = {
    "pnr-array": PnrEntry("the array alone", _unit("array", ARRAY_MHZ), ARRAY_MHZ),
    "pnr-attention": PnrEntry("the attention engine alone", _unit("attention_engine", 100.0), 100.0),
    "pnr-linear": PnrEntry("the linear engine alone", _unit("linear", 75.0), 75.0),
    "pnr-core-ulx3s": PnrEntry("the whole accelerator on the ULX3S", _core, None, 75.0, "clocks.core"),
    **{f"growth-p{rows}-l{lanes}": PnrEntry(f"an array of {rows} rows and {lanes} lanes",
                                            _grown(rows, lanes, ARRAY_MHZ), ARRAY_MHZ)
       for rows in (2, 4) for lanes in (8, 16, 32) if (rows, lanes) != (4, 32)},
}
"""Measurements by name; the largest array is `pnr-array` of preset ecp5. `OVP_SHARE` is one more, without routing."""


def listing():
    """What there is to measure, in words, by name."""
    return {**{name: entry.what for name, entry in PNR.items()},
            OVP_SHARE: "decoders of outlier-victim pairs beside the array, in LUTs and in gates"}


def routed_record(name, routed, target_mhz, clock=""):
    """A `flow.Routed` as a record: figures, what they were reached with, and the slowest path."""
    report, design = routed.report, routed.plan.design
    slow = next(known for known in report.clocks if known.name.endswith(clock))
    path = next((known for known in report.paths if known.start.endswith(slow.name)), None)
    return {
        "name": name, "preset": design.preset, "part": design.board.part,
        "target_mhz": target_mhz or round(slow.target_mhz, 3), "fmax_mhz": round(slow.achieved_mhz, 2),
        "lut": report.cells("TRELLIS_COMB"), "ff": report.cells("TRELLIS_FF"), "dsp": report.cells("MULT18X18D"),
        "bram": report.cells("DP16KD"), "seed": routed.seed,
        "tool_versions": {"yosys": tools.yosys().version, "nextpnr-ecp5": tools.nextpnr().version},
        "path": {} if path is None else {
            "ns": round(path.delay, 2), "wires_ns": round(path.routing, 2), "from": str(path.steps[0].at),
            "to": str(path.steps[-1].at), "through": path.modules},
        "seconds": routed.seconds,
    }


def measure(name, config, *, seed=0, progress=None):
    """The record of one entry.

    Raises
    ------
    ValueError
        If there is no entry of this name.
    FlowError, DoesNotFit, ToolMissing
    """
    if name == OVP_SHARE:
        from .pnr_share import share_record
        return share_record(config, progress)
    if name not in PNR:
        raise ValueError(f"measurement is {name!r}: allowed are {', '.join(listing())}")
    entry = PNR[name]
    design = entry.build(name, config, BOARDS[entry.board])
    synthesis = flow.synthesize(flow.prepare(design), progress)
    routed = flow.place_and_route(synthesis, seed=seed, mhz=entry.mhz, progress=progress)
    return routed_record(name, routed, entry.wanted_mhz or entry.mhz, entry.clock)


def compare(before, after):
    """Differences between lists of records, as `records.compare` gives them; frequencies in kHz, whole numbers."""
    def plain(record):
        figures = {figure: record[figure] for figure in FIGURES if figure in record}
        if "fmax_mhz" in figures:
            figures["fmax, kHz"] = round(figures.pop("fmax_mhz") * 1_000)
        for figure, values in record.get("gates", {}).items():
            figures |= {f"{figure} {kind}": value for kind, value in values.items()}
        return {"name": record["name"], "preset": record["preset"], "cells": figures}
    return compare_records(map(plain, before), map(plain, after))
