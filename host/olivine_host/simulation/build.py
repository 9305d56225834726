"""Builds of simulated designs: made once, kept by what they were made from, safe between processes."""

import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

__all__ = ["VERILATOR_FLAGS", "build_root", "digest", "cached", "log_tail"]

VERILATOR_FLAGS = (
    # Only the ports of the top are seen from outside: fewer public signals, faster code.
    "--no-public-flat-rw", "--public-depth", "1",
    # One huge function is what costs the compiler its time.
    "--output-split", "5000", "--output-split-cfuncs", "300",
    # Lint is a test of its own.
    "-Wno-fatal", "-Wno-lint", "-Wno-style",
)


def build_root():
    """Where builds go: ``OLIVINE_BUILD``, or ``build`` in the current folder."""
    return Path(os.environ.get("OLIVINE_BUILD", "build")).resolve()


def digest(*parts):
    """A short name for everything that a build depends on."""
    joined = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        joined.update(len(text).to_bytes(8, "little") + text)
    return joined.hexdigest()[:16]


@contextmanager
def _locked(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cached(key, make, *, kind="sim"):
    """The folder of a build; ``make(folder)`` fills it if this is the first time.

    Processes that want the same build wait for the one that makes it. A build that failed or was
    interrupted is made again.

    Parameters
    ----------
    key : str
        What names the build, see `digest`.
    make : callable
        Called with the empty folder.
    kind : str
        Folder under the build root.
    """
    folder = build_root() / kind / key
    done = folder / "built"
    if done.exists():
        return folder
    with _locked(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make(folder)
            done.touch()
    return folder


def log_tail(path, lines=60):
    """The end of a log file, for an error message."""
    path = Path(path)
    if not path.exists():
        return f"(no log at {path})"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
