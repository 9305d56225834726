"""Who may import whom: the rule, apart from the test, so that the test can try it on wrong sources."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

SOURCES = {"olivine": ROOT / "hw", "olivine_golden": ROOT / "golden", "olivine_host": ROOT / "host",
           "tb": ROOT, "tests": ROOT}
"""Where each package of the project lies."""

LAYERS = (
    {"config"},
    {"numerics", "stream", "control"},
    {"memory"},
    {"olive"},
    {"linear"},
    {"vector"},
    {"kvcache"},
    {"attention"},
    {"program"},
    {"core"},
    {"bridge"},
    {"board"},
    {"verilog"},
    {"units"},
)
"""The gateware from the bottom up: a layer imports those below it and itself, and no neighbour."""

GOLDEN_MAY = ("config", "control", "formats", "descriptor", "page", "moves")
"""Last part of the gateware's modules that the golden models read: definitions, no gateware."""


def modules():
    """(dotted name, path) of every module of the project."""
    for package, source in SOURCES.items():
        for path in sorted((source / package).rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _exists(name):
    package, *rest = name.split(".")
    if package not in SOURCES:
        return False
    place = (SOURCES[package] / package).joinpath(*rest)
    return place.is_dir() or place.with_suffix(".py").exists()


def imports(name, text, is_package=False):
    """Dotted names of the modules that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = name.split(".")
                up = node.level - 1 if is_package else node.level
                base = ".".join([*here[:len(here) - up], *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if _exists(inner) else base


def _layer(name):
    part = name.split(".")[1] if "." in name else ""
    return next((rank for rank, layer in enumerate(LAYERS) if part in layer), None), part


def complaint(name, target):
    """What is wrong with module ``name`` importing ``target``, or None."""
    own, other = name.split(".")[0], target.split(".")[0]
    if other in ("tb", "tests"):
        return None if own in ("tb", "tests") and (other == "tb" or own == "tests") else \
            f"nothing imports {other}"
    if own == "olivine":
        return _gateware(name, target, other)
    if own == "olivine_golden":
        if other == "olivine_host":
            return "golden does not import host"
        if other == "olivine" and "." in target:
            _, part = _layer(target)
            if part not in GOLDEN_MAY and target.split(".")[-1] not in GOLDEN_MAY:
                return f"golden imports only definitions from the gateware ({', '.join(GOLDEN_MAY)})"
    return None


def _gateware(name, target, other):
    if other not in ("olivine", "amaranth") and other not in sys.stdlib_module_names:
        return "the gateware imports only Amaranth and the standard library"
    if other != "olivine" or name == "olivine" or target == "olivine":
        return None
    (rank, part), (below, target_part) = _layer(name), _layer(target)
    if rank is None:
        return f"{part} has no place in the layers: add it to LAYERS"
    if below is None:
        return f"{target_part} has no place in the layers: add it to LAYERS"
    if part == target_part or below < rank:
        return None
    return f"{part} may only import what is below it, and {target_part} is not"
