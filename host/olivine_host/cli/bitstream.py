"""``olivine bitstream``: a design through synthesis, place and route to a file for an FPGA board."""

import json
import shutil
from pathlib import Path

import click

from .board import BOARD_NAMES, told
from .options import config_options, configuration

__all__ = ["command"]

@click.command("bitstream")
@click.option("--board", required=True, type=click.Choice(BOARD_NAMES), help="What it is for.")
@config_options("ecp5")
@click.option("--unit", default="core", show_default=True, metavar="NAME",
              help="`core` is the accelerator with the board's memory and its link to the host; any unit of `olivine "
                   "verilog --list` is built alone, between shift registers, to measure it.")
@click.option("--freq", type=click.FloatRange(min=1, max=400), metavar="MHZ",
              help="Clock to reach; by default the board's own choice.")
@click.option("--dram-freq", type=click.FloatRange(min=25, max=133), metavar="MHZ",
              help="Clock of the board's memory, of DDR3 half of it; by default the board's own choice.")
@click.option("--on-chip", is_flag=True,
              help="Of ecpix5-85f: memory of the FPGA's own, 16,384 beats, in place of DDR3.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the placement.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where the bitstream, its summary and the logs go.  [default: build/bitstream/NAME]")
@click.option("--paths", type=click.IntRange(min=0), default=1, show_default=True,
              help="How many of the slowest paths to show.")
@click.option("--estimate", is_flag=True,
              help="Stop after synthesis, and show where the paths that are too slow are likely to be.")
def command(board, preset, config_file, unit, freq, dram_freq, on_chip, seed, out, paths, estimate):
    """Build a bitstream, and show what it takes of the part and how fast its clocks are.

    The exit status is 1 if a clock misses its target or the design does not fit; there is no bitstream then. Equal
    inputs give equal bytes. Results of each tool are kept in the build folder.

    \b
    Example:
      olivine bitstream --board ulx3s-85f --unit array --freq 125
    """
    from ..fpga import flow
    from ..fpga.boards import board_design
    from ..fpga.delays import late_registers
    from ..fpga.estimate import slow_paths
    from ..fpga.summary import preset_that_fits, summary
    from ..fpga.view import FlowView

    view = FlowView()
    config = configuration(preset, config_file)
    with told():
        design = board_design(board, unit, config, mhz=freq, dram_mhz=dram_freq, on_chip=on_chip)
    try:
        with view.running(f"{design.name}: {design.board.part}"):
            synthesis = flow.synthesize(flow.prepare(design), view.progress)
            if not estimate:
                routed = flow.place_and_route(synthesis, seed=seed, mhz=freq, progress=view.progress)
    except flow.DoesNotFit as error:
        view.say(str(error))
        with view.running("Looking for a preset that fits"):
            other = preset_that_fits(board, unit, config, on_chip=on_chip, progress=view.progress)
        raise click.ClickException(f"it does not fit; preset {other} would, by its cells" if other else
                                   "it does not fit, and no smaller preset would") from error
    except flow.FlowError as error:
        raise click.ClickException(str(error)) from error
    if estimate:
        limit_ns = 1_000 / (freq or design.board.core_mhz)
        view.estimate(slow_paths((synthesis.folder / "top.json").read_text(), limit_ns, inner=design.inner), limit_ns)
        return
    view.report(routed.report)
    view.paths(routed.report, paths)
    for clock in routed.report.clocks:
        if not clock.met:
            view.late(clock, late_registers(routed.folder / "top.sdf.gz", clock.name, 1_000 / clock.target_mhz,
                                            inner=design.inner))
    out = out or flow.build_root() / "bitstream" / design.name
    _keep(out, {"summary.json": json.dumps(summary(routed), indent=2) + "\n"},
          {"synthesis.log": synthesis.folder / "log", "nextpnr.log": routed.folder / "log",
           "report.json": routed.folder / "report.json"})
    if not routed.report.met:
        for stale in ("top.bit", "top.svf"):
            (out / stale).unlink(missing_ok=True)
        slow = routed.report.clocks[0]
        raise click.ClickException(f"{slow.name} reaches {slow.achieved_mhz:.2f} MHz of {slow.target_mhz:.2f}: no "
                                   f"bitstream. A lower --freq or another --seed may do; the slowest path is above, "
                                   f"all reports are in {out}")
    try:
        packed = flow.pack(routed, view.progress)
    except flow.FlowError as error:
        raise click.ClickException(str(error)) from error
    _keep(out, {}, {name: packed / name for name in ("top.bit", "top.svf")})
    if design.baud:
        view.say(f"Its serial line has {design.baud:,} baud.")
    view.say(f"{out / 'top.bit'}: {(out / 'top.bit').stat().st_size:,} bytes")


def _keep(out, texts, files):
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text)
    for name, path in files.items():
        shutil.copyfile(path, out / name)
