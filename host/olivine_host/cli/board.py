"""``olivine board``: a board on a serial port, tested; or a simulated one for lack of it."""

from contextlib import contextmanager

import click

from .options import config_options, configuration

__all__ = ["command", "BOARD_NAMES", "SERIAL", "PATIENCE", "baud_option", "told"]

BOARD_NAMES = ("ulx3s-85f", "ecpix5-85f")
"""Those of `olivine_host.fpga.boards`, which takes longer to import."""

SERIAL = "serial:"
"""Beginning of a backend that is a board, as of `olivine_host.device.Device`; the port follows."""

PATIENCE = 1.0
"""Seconds for an answer: a simulated board is slow, and a real one loses few frames."""

baud_option = click.option("--baud", type=click.IntRange(min=1200), default=3_000_000, show_default=True,
                           help="Rate of the board's serial line: what `olivine bitstream` said.")


@contextmanager
def told():
    """What a user can cause and correct about a board is one line, not a traceback."""
    from ..board.link import LinkError
    from ..device.engines import ProgramFailed
    from ..fpga.litedram import LiteDramMissing
    from ..simulation.core import RegisterError
    from ..simulation.native import BuildError
    try:
        yield
    except (LinkError, ProgramFailed, LiteDramMissing, RegisterError, BuildError) as error:
        raise click.ClickException(str(error)) from error


@click.group("board")
def command():
    """Test a board on a serial port, or simulate one.

    \b
    Example:
      olivine board simulate
      olivine board self-test /dev/pts/5 --preset tiny
    """


@command.command("simulate")
@config_options("tiny")
@click.option("--board", "board_name", type=click.Choice(BOARD_NAMES), default=BOARD_NAMES[0], show_default=True,
              help="Whose memory it has: SDRAM, or DDR3 of 32 MiB.")
@click.option("--on-chip", is_flag=True, help="Memory of the FPGA's own, 1 MiB, in place of that.")
@click.option("--seconds", type=click.FloatRange(min=0), help="End by itself after so long.  [default: with Ctrl-C]")
def simulate(preset, config_file, board_name, on_chip, seconds):
    """Run a board's gateware in a simulator, and print the port that it is on.

    All commands for a board work with that port, some thousand times slower than with a board.
    """
    from ..fpga.boards import BOARDS
    from ..simulation.board import SimulatedBoard
    config = configuration(preset, config_file)
    click.echo(f"building a board of preset {config.name}: some minutes the first time", err=True)
    with told():
        memory = {"dram": None, "words": (1 << 20) // config.bus_bytes} if on_chip else \
            {"dram": BOARDS[board_name].dram}
        board = SimulatedBoard(config, **memory)
    with board:
        click.echo(board.port)
        click.echo(f"olivine doctor --board {board.port}    # Ctrl-C here ends the board", err=True)
        try:
            ended = board.wait(seconds)
        except KeyboardInterrupt:
            ended = None
    if ended is not None:
        raise click.ClickException(f"the simulation ended: see {board.log}")
    if board.counts is not None:
        counts = board.counts
        click.echo(f"{counts.cycles:,} cycles, {counts.bytes_in:,} bytes to the board and {counts.bytes_out:,} from "
                   f"it, {counts.errors} violations of the memory chip's data sheet", err=True)


@command.command("memory")
@click.argument("port")
@config_options("ecp5")
@baud_option
@click.option("--first", default="0", metavar="ADDRESS", help="Where to begin.  [default: 0]")
@click.option("--size", metavar="BYTES", help="How much, from there.  [default: to the end of memory]")
@click.option("--random", "total", type=click.IntRange(min=1), default=1 << 18, show_default=True,
              help="Bytes of random blocks, at most: the line takes 4 s a megabyte each way.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the random blocks.")
def memory(port, preset, config_file, baud, first, size, total, seed):
    """Write patterns to the board's memory and read them back.

    Walking bits on the data lines, marks on the address lines, random blocks. What lies there is lost. The exit
    status is 1 if anything came back wrong.
    """
    from ..board import SerialCore
    from ..board.memory_test import test_memory
    config = configuration(preset, config_file)
    wrong = 0
    with told(), SerialCore(port, config, baud, patience=PATIENCE) as core:
        for report in test_memory(core, _number(first), None if size is None else _number(size), total=total, seed=seed,
                                  begin=lambda name: click.echo(f"{name} ...", err=True)):
            wrong += report.wrong
            click.echo(f"{report.name}: {report.explain(config.bus_bytes) or 'right'}, {report.wrote:,} bytes, "
                       f"written at {_rate(report.wrote, report.seconds_write)}, read at "
                       f"{_rate(report.read, report.seconds_read)}")
        click.echo(_line(core.link))
    if wrong:
        raise click.ClickException(f"memory is wrong: {wrong:,} bytes")


@command.command("level")
@click.argument("port")
@baud_option
def level_command(port, baud):
    """Find where reads of a board's DDR3 memory are to be sampled, and tell the board that memory is ready.

    All other commands do that by themselves where it was not done since the board's reset; this one shows what was
    found, and does it anew. What lies in the first 256 bytes is lost. The exit status is 1 if a byte lane is never
    read rightly.
    """
    from ..board import Link
    from ..board.levelling import level
    with told(), Link(port, baud, patience=PATIENCE) as link:
        if not link.status().levels:
            raise click.ClickException(f"the board on {port} has no memory that its host levels")
        for window in level(link):
            click.echo(window)
        click.echo(_line(link))


def _number(text):
    try:
        return int(text, 0)
    except ValueError:
        raise click.UsageError(f"{text!r} is no number: allowed is one such as 4096 or 0x1000") from None


def _rate(size, seconds):
    return f"{size / seconds / 1000:,.1f} kB/s" if seconds else "once"


def _line(link):
    status, counters = link.status(), link.counters
    return (f"the line: {counters.requests:,} requests, {counters.retries} asked again, {counters.damaged} damaged "
            f"frames here and {status.damaged} there")


@command.command("self-test")
@click.argument("port")
@config_options("ecp5")
@baud_option
def self_test_command(port, preset, config_file, baud):
    """Run small models on the board, and compare it with the golden model.

    The exit status is 1 if anything differs; then it says which stage does first.
    """
    from ..board import SerialCore
    from ..board.self_test import check_registers, self_test
    config = configuration(preset, config_file)
    wrong = []
    with told():
        with SerialCore(port, config, baud, patience=PATIENCE) as core:
            wrong += check_registers(core)
        click.echo(f"registers: {'; '.join(wrong) or 'hold what is written'}")
        for result in self_test(f"serial:{port}", config, baud=baud, patience=PATIENCE,
                                begin=lambda name: click.echo(f"{name} ...", err=True)):
            wrong += result.wrong
            click.echo(f"{result.name}: {'; '.join(result.wrong) or 'equal to golden'}, {result.tokens} tokens, "
                       f"{result.cycles:,} cycles")
    if wrong:
        raise click.ClickException("the board differs from the golden model")
