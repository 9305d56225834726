"""Measures a board's memory in simulation: ``python -m tests.board.measure [FILE]`` writes ``FILE``, by default the
records that docs/board-memory.md quotes."""

import json
import sys
from pathlib import Path

import olivine
from olivine.board.dram_parts import DDR3_PARTS, SDRAM_PARTS
from olivine_host.fpga.litedram import ddr3_core, sdr_core

from tests.board.ddr3_bench import ddr3_design, small_ddr3
from tests.board.dram_bench import dram_design
from tests.simulate import build_root, run

__all__ = ["measure", "POINTS", "DDR3_POINTS", "FIGURES"]

FIGURES = Path(__file__).parents[2] / "docs" / "figures" / "board-memory.json"

POINTS = ((75_000_000, 40_000), (100_000_000, 40_000), (100_000_000, 20_000), (62_500_000, 24_000))
"""Clock of the memory, hertz; period of the core's clock, ps. The last are the ULX3S's own."""

DDR3_POINTS = ((75_000_000, 13_334), (75_000_000, 24_000))
"""The same of the DDR3's controller. The first are the ECPIX-5's own."""


def measure(clk_freq, core_ps, total=1 << 16, only=(), part="sdr-32m"):
    """Records of one point: share of the peak by pattern, latency of a read.

    Parameters
    ----------
    clk_freq : int
        Of the memory, of DDR3 of its controller, hertz.
    core_ps : int
        Period of the core's clock.
    total : int
        Bytes a pattern moves.
    only : sequence of str
        Names of patterns; all if empty.
    part : str
    """
    if part in DDR3_PARTS:
        # Few rows and a short beginning make no difference to what is measured behind it.
        core = ddr3_core(small_ddr3(), clk_freq)
        made, bench, halves = ddr3_design(core), "tb.board.ddr3_speed", 4
    else:
        core = sdr_core(SDRAM_PARTS[part], clk_freq)
        made, bench, halves = dram_design(core), "tb.board.dram_speed", 2
    file = build_root() / "board-memory.json"
    file.unlink(missing_ok=True)
    run(made, bench, simulator="verilator", expected=1, parameters={
        "core_ps": core_ps, "dram_ps": round(1e12 / clk_freq / halves) * halves, "total": total, "records": file,
        "only": " ".join(only)})
    point = {"part": part, "version": olivine.__version__, "memory_mhz": clk_freq / 1e6, "core_mhz": 1e6 / core_ps,
             "cas": core.cas}
    records = []
    for record in json.loads(file.read_text()):
        record = {"name": record.pop("name"), **point, **record}
        if "bytes" in record:
            record["bytes_per_second"] = round(record["bytes"] / record["clocks"] * clk_freq)
        records.append(record)
    return records


def main(file=FIGURES):
    records = [record for point in POINTS for record in measure(*point)]
    records += [record for point in DDR3_POINTS for record in measure(*point, part="mt41k256m16")]
    Path(file).write_text(json.dumps(records, indent=2) + "\n")
    for record in records:
        print(*(f"{key}={value}" for key, value in record.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
