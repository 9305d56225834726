"""The documentation: its links lead somewhere, its commands are ones that exist."""

import re
import shlex
from pathlib import Path

import click
import pytest
from olivine_host.cli import VERBS
from olivine_host.cli import olivine as cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _commands():
    """(page, command line) of every `olivine ...` in a shell block or a code span."""
    for page in PAGES:
        text = page.read_text()
        lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
                 for line in block.splitlines()]
        lines += re.findall(r"`(olivine [^`]+)`", text)
        for line in lines:
            if line.startswith("olivine ") and not re.search(r"[A-Z]{3,}|\.\.\.", line):
                yield page.relative_to(ROOT), line.split("#")[0].strip()


@pytest.mark.parametrize("page, line", sorted(set(_commands())), ids=str)
def test_command_is_understood(page, line, tmp_path, monkeypatch):
    """Parsed, not run: verbs and options exist and take these values."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    for name in ("mine.toml", "bench.json"):
        (tmp_path / "build" / name).write_text("")
    verb, *arguments = shlex.split(line)[1:]
    assert verb in VERBS
    group = click.Context(cli, info_name="olivine")
    command = cli.get_command(group, verb)
    command.make_context(verb, arguments, parent=group)


def test_commands_are_found():
    assert len({line.split()[1] for _, line in _commands()}) == len(VERBS), "every verb has an example"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_no_path_of_a_machine():
    for page in PAGES:
        assert str(ROOT) not in page.read_text(), page
