"""What is at the end of a link: the bridge, the core's constants, and which preset that is. Changes nothing there but
where unlevelled memory is read."""

import time
from dataclasses import dataclass

from olivine.bridge.frames import REGISTER_BYTES, VERSION, Operation
from olivine.config import PRESETS
from olivine.control.registers import BY_NAME, IDENTIFIER

from . import levelling
from .link import Refused

__all__ = ["Fact", "read_constants", "core_constants", "presets_like", "inspect"]

READY_SECONDS = 3
"""That memory may take to become ready."""

CONSTANTS = ("VERSION", "ARRAY", "BUS", "MODEL", "SEQUENCE", "CACHE", "BLOCKS")


@dataclass(frozen=True)
class Fact:
    """A line of a report; ``wrong`` says in words why a host cannot work with that, and is empty if it can."""

    name: str
    value: str
    wrong: str = ""


def read_register(link, name):
    payload = link.request(Operation.READ_REGISTER, BY_NAME[name].offset, REGISTER_BYTES)
    return int.from_bytes(payload, "little")


def _fields(register, value):
    return {field.name: value >> field.low & (1 << field.width) - 1 for field in BY_NAME[register].fields}


def read_constants(link):
    """Fields of the core's constant registers by name."""
    return {name: value for register in CONSTANTS for name, value in
            _fields(register, read_register(link, register)).items()}


def core_constants(config):
    """The same of a configuration, without versions."""
    names = (field.name for register in CONSTANTS[1:] for field in BY_NAME[register].fields)
    # One window is the scratchpad's.
    return {name: getattr(config, name) - (name == "windows") for name in names}


def presets_like(constants):
    """Names of the presets whose core has these constants."""
    return [name for name, config in PRESETS.items()
            if all(constants[key] == value for key, value in core_constants(config).items())]


def inspect(link):
    """List of `Fact` about an open `Link`. Memory that waits for its host is levelled."""
    facts = []
    if levelling.is_due(link.status()):
        facts.append(_levelled(link))
    deadline = time.monotonic() + READY_SECONDS
    while not (status := link.status()).memory_ready and time.monotonic() < deadline:
        time.sleep(0.01)
    identity = link.identity
    facts = [
        *facts,
        Fact("bridge", f"protocol {VERSION}, up to {identity.max_payload:,} bytes a frame"),
        Fact("memory", f"{1 << identity.addr_width:,} bytes, beats of {identity.bus_bytes}, "
             f"{'ready' if status.memory_ready else 'not ready'}",
             "" if status.memory_ready else "its memory is not ready: the clock of the memory, or the chip"),
        Fact("bus", "owes answers" if status.busy else "at rest",
             "an access timed out, and the bus owes its answers: reset the board" if status.busy else ""),
        *_core(link),
        Fact("frames damaged, late; bytes lost", f"{status.damaged}, {status.late}; {status.line} (since power-up, "
             "modulo 65,536)"),
        Fact("asked again, stale, damaged here", f"{link.counters.retries}, {link.counters.stale}, "
             f"{link.counters.damaged}"),
    ]
    return facts


def _levelled(link):
    try:
        windows = levelling.level(link)
    except levelling.LevellingError as error:
        return Fact("levelling", "failed", str(error))
    return Fact("levelling", "; ".join(map(str, windows)))


def _core(link):
    try:
        identifier = read_register(link, "ID")
        if identifier != IDENTIFIER:
            return [Fact("core", f"identifier {identifier:#010x}", "there is no core of Olivine behind the bridge")]
        constants, state = read_constants(link), _fields("STATUS", read_register(link, "STATUS"))
    except Refused as error:
        return [Fact("core", "no answer", str(error))]
    like = presets_like(constants)
    return [
        Fact("core", f"{'preset ' + ' or '.join(like) if like else 'no preset'}: {constants['rows']} rows x "
             f"{constants['lanes']} lanes, {constants['contexts']} contexts, reductions to "
             f"{constants['max_reduction']:,}, {constants['max_sequence']:,} keys, {constants['sequences']} sequences"),
        Fact("core's versions", f"registers {constants['registers']}, instructions {constants['instructions']}"),
        Fact("state", ", ".join(name for name, value in state.items() if value) or "nothing ran since the reset"),
    ]
