"""How Yosys is asked to synthesize for ECP5, and what comes out of it."""

import json

__all__ = ["by_module", "THE_WHOLE", "script_of", "cells_of", "logic"]

LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
"""LUTs that a cell takes: a carry cell two, distributed memory six (four of storage, two of ports)."""

THE_WHOLE = "-run map_ffs: -nowidelut"
"""Options of ``synth_ecp5`` behind `by_module`. No LUTs of five inputs and more: they are made of several and a
multiplexer whose selector enters where a flip-flop's input does that has no LUT, and there wires are scarce."""


_MACHINES = "i:rst %m w:fsm_state %i"
ONE_HOT = f"""setattr -unset init {_MACHINES}
setattr -set fsm_encoding "one-hot" {_MACHINES}"""
"""A state machine gets a flip-flop for each state, which shortens what waits for a state to one gate. Yosys leaves
those alone whose register has an initial value, and counts in binary from 33 states on. Where there is a reset, that
says where a machine begins."""


FEWEST_SHARERS = 4
FEW_SETS = " ".join((
    "dfflegalize", *(f"-cell {cell}" for cell in (
        "$_DFF_?_ 01", "$_DFF_?P?_ r", "$_SDFF_?P?_ r", "$_DFFE_??_ 01", "$_DFFE_?P??_ r", "$_SDFFE_?P??_ r")),
    f"-mince {FEWEST_SHARERS} -minsrst {FEWEST_SHARERS}"))
"""Enables and resets of fewer flip-flops than that become logic in front of them: two flip-flops share a slice only if
they share both, and sets of one or two leave slices half empty. The cells are those that ECP5 has."""


MAPPED_TWICE = ("scratchpad -set abc9.script "
                "+&scorr;&sweep;&dc2;&dch,-f,-r;&ps;&if,{W},{D},-v;&mfs;&dch,-f;&if,{W},{D},-v;&mfs;&ps")
"""abc's own script, then its choices and its mapping once more: 1 % fewer LUTs on the whole core."""


def by_module(top, options=""):
    """First half of a script, up to gates.

    Yosys's general passes take hours on the whole core as one module, and minutes module by module: so they run first.
    What only the whole shows, constants and outputs that nobody reads, is left to the passes on gates.
    """
    return "\n".join((f"hierarchy -top {top}", ONE_HOT,
                      f"synth_lattice -family ecp5 -top {top} -noflatten -run begin:map_ffs {options}".rstrip(),
                      "flatten", "opt -fast", FEW_SETS, MAPPED_TWICE))


def script_of(file, top, options=""):
    """A script from RTLIL to cells; ``options`` of ``synth_ecp5``, such as ``"-nodsp"``."""
    return f"read_rtlil {file}\n{by_module(top, options)}\nsynth_ecp5 -top {top} {THE_WHOLE}\n"


def cells_of(report):
    """Cells by kind, from what ``stat -json`` wrote."""
    report = json.loads(report)
    return {kind: count for kind, count in sorted(report["design"]["num_cells_by_type"].items())
            if not kind.startswith("$")}


def logic(cells):
    """LUTs that cells take."""
    return sum(LUTS.get(kind, 0) * count for kind, count in cells.items())
