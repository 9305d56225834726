"""What a build was and gave, as a dictionary for ``summary.json``, and which smaller preset would fit."""

from olivine.config import PRESETS

from . import flow, tools
from .boards import board_design

__all__ = ["summary", "preset_that_fits"]


def summary(routed):
    """A `flow.Routed` as plain data."""
    report, design = routed.report, routed.plan.design
    return {
        "name": design.name, "board": design.board.name, "part": design.board.part, "preset": design.preset,
        "seed": routed.seed, **({"baud": design.baud} if design.baud else {}),
        "tool_versions": {"yosys": tools.yosys().version, "nextpnr-ecp5": tools.nextpnr().version,
                          "ecppack": tools.ecppack().version},
        "cells": {kind: {"used": used, "available": available} for kind, (used, available) in report.used.items()
                  if used},
        "clocks": [{"name": clock.name, "target_mhz": clock.target_mhz, "reached_mhz": round(clock.achieved_mhz, 2),
                    "slack_ns": round(clock.slack_ns, 3)} for clock in report.clocks],
        "timing_met": report.met,
        "paths": [{"delay_ns": round(path.delay, 3), "routing_ns": round(path.routing, 3),
                   "from": str(path.steps[0].at), "to": str(path.steps[-1].at), "through": path.modules}
                  for path in report.paths],
    }


def preset_that_fits(board, unit, config, *, on_chip=False, progress=None):
    """The largest preset smaller than ``config`` whose cells, by synthesis, fit on the board; None if none does."""
    smaller = sorted((preset for preset in PRESETS.values() if preset.multipliers < config.multipliers),
                     key=lambda preset: -preset.multipliers)
    for preset in smaller:
        if not flow.synthesize(flow.prepare(board_design(board, unit, preset, on_chip=on_chip)), progress).overflows:
            return preset.name
    return None
