"""The verses of the King James Bible, from Debian's packages, and what of them is held out."""

import hashlib
import shutil
import subprocess

__all__ = ["BLOCK", "EVERY", "HELD_OUT", "digest", "split", "verses"]

BLOCK = 50
"""Consecutive verses that stay together in the split."""

EVERY, HELD_OUT = 20, 7
"""Of every 20 blocks, the one numbered 7 is held out."""


def verses():
    """All verses in order, without their numbers; RuntimeError where the program ``bible`` is missing."""
    program = shutil.which("bible")
    if program is None:
        raise RuntimeError("the program `bible` is missing: install the Debian packages bible-kjv and bible-kjv-text")
    run = subprocess.run([program, "-f", "Genesis 1:1-Revelation 22:21"], capture_output=True, text=True)
    if run.returncode or not run.stdout:
        raise RuntimeError(f"`bible` gave no text: {run.stderr.strip() or 'is bible-kjv-text installed?'}")
    return [line.split(" ", 1)[1] for line in run.stdout.splitlines()]


def split(verses):
    """(training text, held-out text), a verse a line."""
    parts = [], []
    for number, verse in enumerate(verses):
        parts[number // BLOCK % EVERY == HELD_OUT].append(verse + "\n")
    return tuple(map("".join, parts))


def digest(text):
    """SHA-256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
