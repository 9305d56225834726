"""Golden model of the cache's data mover: what a `MoveCommand` does to memory.

Twin of `olivine.kvcache.mover`.
"""

from olivine.kvcache.page import key_bytes, value_blocks

__all__ = ["move"]


def move(memory, config, geometry, command):
    """Move contents between two blocks, in all their pages.

    Parameters
    ----------
    memory : bytearray
        From address 0 on.
    config : AcceleratorConfig
        Its ``lanes`` and ``bus_bytes`` are looked at.
    geometry, command : dict
        Fields of `CacheGeometry` and `MoveCommand`; ``kind`` is a member of `MoveKind`. Those of ``command`` that its
        kind does not use may be left out.
    """
    for head in range(geometry["heads"]):
        source, target = (command[name] + head * geometry["page_bytes"] for name in ("source", "target"))
        if command["kind"].name == "PLACE":
            _place(memory, config, geometry, source, command["source_place"], target, command["target_place"])
        else:
            _copy(memory, config, geometry, source, target, command["places"], command.get("zero", 0))


def _copy(memory, config, geometry, source, target, places, zero):
    """The first places of a page. A sub-block of keys moves as a whole if it holds one of them."""
    size = config.bus_bytes
    for first in range(0, config.lanes, size):
        kept = min(size, max(0, places - first))
        for beat in _key_beats(config, geometry, first):
            if kept:
                memory[target + beat:target + beat + size] = memory[source + beat:source + beat + size]
            if zero:
                memory[target + beat + kept:target + beat + size] = bytes(size - kept)
    for place in range(config.lanes):
        for at, count in _values(config, geometry, place):
            if place < places:
                memory[target + at:target + at + count] = memory[source + at:source + at + count]
            elif zero:
                memory[target + at:target + at + count] = bytes(count)


def _place(memory, config, geometry, source, source_place, target, target_place):
    size = config.bus_bytes
    for here, there in zip(_key_beats(config, geometry, source_place), _key_beats(config, geometry, target_place)):
        memory[target + there + target_place % size] = memory[source + here + source_place % size]
    for (here, count), (there, _) in zip(_values(config, geometry, source_place),
                                         _values(config, geometry, target_place)):
        memory[target + there:target + there + count] = memory[source + here:source + here + count]


def _key_beats(config, geometry, place):
    """Where in a page the beats of a place's sub-block of keys lie."""
    size = config.bus_bytes
    beats = key_bytes(size, geometry["head_dim"], geometry["key_format"]) // size
    first = place // size * beats * size
    return range(first, first + beats * size, size)


def _values(config, geometry, place):
    """``(first byte in a page, bytes)`` of a place's values, for each L dims."""
    size = config.bus_bytes
    at, runs = key_bytes(config.lanes, geometry["head_dim"], geometry["key_format"]), []
    for _, beats in value_blocks(config.lanes, size, geometry["head_dim"], geometry["value_format"]):
        runs.append((at + place * beats * size, beats * size))
        at += config.lanes * beats * size
    return runs
