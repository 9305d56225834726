"""Lists of records as JSON files, and what changed between two."""

import json
from pathlib import Path

__all__ = ["write_records", "read_records", "compare"]

IDENTITY = ("name", "preset", "simulator", "m", "k", "n", "format", "group", "x_format", "y_format", "tokens", "keys",
            "heads", "kv_heads", "head_dim", "kv_format", "causal", "sequences", "dsp", "d_model", "layers",
            "hidden", "vocab", "lengths", "prompt", "embeds", "head")
"""Fields that say what was measured; records that agree in them are compared."""


def write_records(path, records):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records, indent=2) + "\n")


def read_records(path):
    """The records of a file.

    Raises
    ------
    ValueError
        If it is no list of records.
    """
    try:
        records = json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) and "name" in record
                                                for record in records):
        raise ValueError(f"{path} holds no list of records with names")
    return records


def _figures(record):
    """The figures of a record that are compared, flat: cycles, those of operations, or cells by kind."""
    figures = {name: record[name] for name in ("cycles", "bytes_read", "bytes_written", "added_cycles")
               if name in record}
    figures |= {f"{name}, {blocks} blocks": cycles for name, by_blocks in record.get("operations", {}).items()
                for blocks, cycles in by_blocks.items()}
    return figures | record.get("cells", {})


def compare(before, after):
    """Differences from one list of records to another.

    The simulator does not count: both give the same cycles.

    Returns
    -------
    list of (str, str, int or None, int)
        Benchmark, figure, old and new value, where they differ; old is None where there is no old
        record.
    """
    def identity(record):
        return tuple(str(record.get(name)) for name in IDENTITY if name != "simulator")

    old = {identity(record): _figures(record) for record in before}
    changes = []
    for record in after:
        known = old.get(identity(record))
        for name, value in _figures(record).items():
            if known is None:
                changes.append((record["name"], name, None, value))
            elif known.get(name) != value:
                changes.append((record["name"], name, known.get(name, 0), value))
        for name in set(known or {}) - set(_figures(record)):
            changes.append((record["name"], name, known[name], 0))
    return changes
