"""The `olivine` command: one verb, one module, loaded when it is used."""

import importlib
import sys
import tomllib

import click
from olivine import __version__

__all__ = ["main", "olivine"]

VERBS = {
    "run": "Generate text with a language model on the generated Verilog, in a simulator.",
    "eval": "Perplexity of a language model, in float and as the hardware computes it.",
    "verilog": "Write a unit's Verilog and its list of ports.",
    "test": "Run the regression: golden models, testbenches, proofs.",
    "bench": "Measure cycles, utilisation and bus use; synthesis figures.",
    "doctor": "Show which tools are found, and how to get what is missing.",
    "isa": "Assemble and disassemble programs; write the reference of instructions and registers.",
    "board": "Test a board on a serial port, or simulate one.",
    "bitstream": "Synthesize, place and route a design for an FPGA board.",
}
"""Name of each verb's module here, and its line in the help; the module exports ``command``."""


class Verbs(click.Group):
    """A group whose commands are imported one by one: quick help, and no verb breaks another."""

    def list_commands(self, context):
        return list(VERBS)

    def get_command(self, context, name):
        if name not in VERBS:
            return None
        try:
            return importlib.import_module(f".{name}", __name__).command
        except ImportError as error:
            raise _Mistake(f"`{name}` cannot be loaded: {error}; `olivine doctor` shows what is "
                           "missing") from error

    def format_commands(self, context, formatter):
        with formatter.section("Commands"):
            formatter.write_dl(VERBS.items())

    def resolve_command(self, context, arguments):
        if arguments and arguments[0] not in VERBS:
            raise click.UsageError(f"no command {arguments[0]!r}: there are {', '.join(VERBS)}")
        return super().resolve_command(context, arguments)

    def invoke(self, context):
        """What a user can cause and correct is one line, not a traceback."""
        try:
            return super().invoke(context)
        except tomllib.TOMLDecodeError as error:
            raise _Mistake(f"the configuration is not TOML: {error}") from error
        except (ValueError, OSError) as error:
            if context.params["debug"]:
                raise
            raise _Mistake(str(error)) from error
        except RuntimeError as error:
            # Imported here, so that help need not wait for it.
            from ..toolchain import ToolMissing
            if isinstance(error, ToolMissing):
                raise _Mistake(str(error)) from error
            raise


class _Mistake(click.ClickException):
    exit_code = 2

    def show(self, file=None):
        click.echo(f"olivine: {self.message}", file=file or sys.stderr)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="olivine")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def olivine(debug):
    """A transformer-inference accelerator in Amaranth HDL."""


def main():
    olivine(prog_name="olivine")
