"""`olivine isa`: programs as text and as bytes, the reference pages, the C header of the registers."""

from pathlib import Path

import click

__all__ = ["command"]

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("isa")
def command():
    """Assemble and disassemble programs; write the reference.

    \b
    Example:
      olivine isa assemble program.txt -o program.bin
    """


def _existing(source):
    if not source.is_file():
        raise click.UsageError(f"there is no file {source}")
    return source


@command.command("assemble")
@click.argument("source", type=_FILE)
@click.option("-o", "--output", required=True, metavar="FILE", type=_FILE, help="Where to.")
def assemble_command(source, output):
    """Make a program's bytes of its text."""
    from ..isa import assemble
    program = assemble(_existing(source).read_text())
    output.write_bytes(program)
    click.echo(f"{output}: {len(program) // 64} instructions, {len(program):,} bytes")


@command.command("disassemble")
@click.argument("source", type=_FILE)
@click.option("--listing", is_flag=True, help="Number the lines, with addresses; not to be assembled again.")
@click.option("--address", default="0", metavar="ADDRESS", help="Where the program lies, for the listing.")
def disassemble_command(source, listing, address):
    """Print a program's text."""
    from .. import isa
    program = _existing(source).read_bytes()
    try:
        at = int(address, 0)
    except ValueError:
        raise click.UsageError(f"--address is {address!r}: a number is allowed, such as 0x1000") from None
    click.echo(isa.listing(program, at) if listing else isa.disassemble(program), nl=False)


@command.command("reference")
@click.option("--out", default="docs", show_default=True, metavar="DIR", help="Folder of the documentation.",
              type=click.Path(file_okay=False, path_type=Path))
def reference_command(out):
    """Write instructions.md and registers.md."""
    from ..isa.reference import PAGES
    out.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (out / name).write_text(make())
        click.echo(out / name)


@command.command("header")
@click.option("-o", "--output", default="olivine_registers.h", show_default=True, metavar="FILE", type=_FILE,
              help="Where to.")
def header_command(output):
    """Write the registers as a C header."""
    from ..isa.reference import c_header
    output.write_text(c_header())
    click.echo(output)
