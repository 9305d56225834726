"""docs/bridge.md says what the declaration of the protocol says."""

import re
from pathlib import Path

from olivine.bridge.frames import HEADER, MAX_PAYLOAD, RESET_CYCLES, VERSION, Code, Operation
from olivine_host.board import link
from olivine_host.board.frame import Frame, line_bytes

TEXT = (Path(__file__).parents[2] / "docs" / "bridge.md").read_text()


def table(name):
    """Rows of the table behind a mark, without its head."""
    block = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", TEXT, re.DOTALL).group(1)
    return [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in block.strip().split("\n")[2:]]


def test_header():
    assert table("header") == [(str(field.offset // 8), name, str(field.width // 8)) for name, field in HEADER]


def test_operations():
    assert table("operations") == [(operation.name, f"{operation:#04x}") for operation in Operation]


def test_codes():
    assert table("codes") == [(code.name, str(int(code))) for code in Code]


def test_numbers():
    assert f"(version {VERSION})" in TEXT and f"for {RESET_CYCLES} cycles" in TEXT and f"({MAX_PAYLOAD:,} bytes" in TEXT
    longest = len(Frame(Operation.WRITE_MEMORY, 1, 0, MAX_PAYLOAD, b"x" * MAX_PAYLOAD).pack()) + 1
    shortest = len(Frame(Operation.READ_MEMORY, 1, 0, MAX_PAYLOAD).pack())
    assert f"request {longest:,}, answer {shortest} | {longest + shortest:,} |" in TEXT
    assert longest <= line_bytes(MAX_PAYLOAD)
    assert f"request {shortest + 1}, answer {longest - 1:,} |" in TEXT
    assert f"{MAX_PAYLOAD * 300_000 // (longest + shortest) // 1000 * 1000:,} |" in TEXT


def test_errors():
    for name in link.__all__:
        if issubclass(getattr(link, name), link.LinkError) and name != "LinkError":
            assert f"| `{name}` |" in TEXT, name
