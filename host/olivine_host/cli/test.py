"""`olivine test`: the regression."""

import os
import subprocess
import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.command("test", context_settings={"ignore_unknown_options": True})
@click.option("--slow", is_flag=True, help="Also large designs, long random runs and the longer formal proofs.")
@click.option("-k", "expression", metavar="WORDS", help="Only tests whose names match, as for pytest.")
@click.option("-n", "--jobs", default=min(os.cpu_count() or 1, 4), show_default=True, metavar="N",
              help="Tests that run at once; 0 runs them in this process.")
@click.option("--waves", is_flag=True, help="Record waveforms of every simulation in build/runs.")
@click.argument("arguments", nargs=-1, metavar="[PYTEST ARGUMENTS]...")
def command(slow, expression, jobs, waves, arguments):
    """Run the regression, or the part that is asked for. Other arguments go to pytest.

    \b
    Examples:
      olivine test
      olivine test --slow
      olivine test tests/stream -k queue --waves
    """
    root = repository()
    line = [sys.executable, "-m", "pytest", "--rootdir", str(root), "-c", str(root / "pyproject.toml")]
    line += ["-n", str(jobs)] if jobs else []
    line += ["--slow"] if slow else []
    line += ["--waves"] if waves else []
    line += ["-k", expression] if expression else []
    click.echo(f"olivine test: {'everything' if slow else 'all but the slow tests'}, {jobs or 1} at once; "
               "waveforms and logs of failures are under build/runs")
    code = subprocess.run([*line, *arguments], cwd=root, check=False).returncode
    if code:
        click.echo(f"olivine test: not passed (pytest's code {code})", err=True)
    sys.exit(code)


def repository():
    """The checkout that this package is installed from.

    Raises
    ------
    ValueError
        If it is not installed from one.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "tests" / "conftest.py").exists():
        raise ValueError("the tests are not installed with the package: run this in a checkout that was "
                         "set up by `scripts/setup`")
    return root
