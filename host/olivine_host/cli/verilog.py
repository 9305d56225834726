"""`olivine verilog`: a unit's Verilog and its list of ports."""

from pathlib import Path

import click
from olivine.units import DEFAULT_UNIT, UNITS, unit_design

from .options import config_options, configuration

__all__ = ["command"]


@click.command("verilog")
@config_options("edge")
@click.option("--unit", default=DEFAULT_UNIT, show_default=True, metavar="NAME",
              help="What to write; see --list.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="Where to. FILE.ports.json, in place of its ending, gets the list of ports.")
@click.option("--list", "listing", is_flag=True, help="List the units.")
def command(preset, config_file, unit, output, listing):
    """Write a unit's Verilog, the same bytes every time, and its ports as JSON.

    \b
    Example:
      olivine verilog --preset edge -o build/olivine.v
    """
    if listing:
        width = max(map(len, UNITS))
        for name, entry in UNITS.items():
            click.echo(f"{name:{width}}  {entry.what}{' (default)' if name == DEFAULT_UNIT else ''}")
        return
    if output is None:
        raise click.UsageError("where to? Give -o FILE, or --list to see the units")
    config = configuration(preset, config_file)
    made = unit_design(unit, config)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(made.text)
    ports = output.with_suffix(".ports.json")
    ports.write_text(made.ports_json())
    click.echo(f"{output}: module {made.name}, {len(made.text):,} bytes")
    click.echo(f"{ports}: {len(made.ports)} ports")
