"""A host that speaks AXI4-Lite, and a model of the registers.

Parameters: OLIVINE_CONFIG; OLIVINE_TRIALS.
"""

import json
import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from olivine.config import AcceleratorConfig
from olivine.control.instruction import ProgramFault, Unit
from olivine.control.job import StatusCode, Window
from olivine.control.registers import (
    REGISTERS,
    WINDOW_BASE,
    WINDOW_REGISTERS,
    WINDOW_STRIDE,
    Access,
)
from olivine.program.counters import counts_layout

from tb.streams import PATTERNS, cycle, pack, start, unpack

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))
TRIALS = int(os.environ["OLIVINE_TRIALS"])
WORDS = CONFIG.scratchpad_words
BASE = (1 << CONFIG.addr_width) - WORDS * CONFIG.bus_bytes
OKAY, SLVERR, DECERR = 0, 2, 3
COUNTS = counts_layout(CONFIG)
WINDOWS = CONFIG.windows - 1
START, ABORT, CLEAR = 1, 2, 4
TABLE = {register.offset: (register.name, register) for register in REGISTERS}
TABLE |= {WINDOW_BASE + n * WINDOW_STRIDE + register.offset: (f"WINDOW_{n}_{register.name}", register)
          for n in range(WINDOWS) for register in WINDOW_REGISTERS}
ADDRESS = {name: offset for offset, (name, _) in TABLE.items()}
CONSTANTS = {
    "ID": int.from_bytes(b"OLVN", "little"), "VERSION": 0x0101,
    "ARRAY": CONFIG.rows | CONFIG.lanes << 16,
    "BUS": CONFIG.bus_bytes | CONFIG.addr_width << 8 | CONFIG.contexts << 16 | WINDOWS << 24,
    "MODEL": CONFIG.max_reduction | CONFIG.max_head_dim << 16, "SEQUENCE": CONFIG.max_sequence,
    "CACHE": CONFIG.sequences | CONFIG.cells << 16, "BLOCKS": CONFIG.blocks, "SCRATCHPAD_WORDS": WORDS,
    "SCRATCHPAD_LO": BASE & 0xffff_ffff, "SCRATCHPAD_HI": BASE >> 32,
}


class Host:
    """A host that drives the five channels itself, in any order, and checks what comes back holds."""

    CHANNELS = {"aw": ("addr",), "w": ("data", "strb"), "ar": ("addr",), "b": ("resp",), "r": ("data", "resp")}

    def __init__(self, dut, seed=1, patterns=None):
        self.dut, self.rng = dut, random.Random(f"{seed}")
        self.patterns = {name: PATTERNS[(patterns or {}).get(name, "always")](seed) for name in ("b", "r")}
        self.access = None          # cycle of the last write's access
        for channel, fields in self.CHANNELS.items():
            names = ("ready",) if channel in "br" else ("valid", *fields)
            for name in names:
                self.pin(channel, name).value = 0
        for name in ("ended", "fault", "result_valid", "result", "completed", "counts"):
            getattr(dut, name).value = 0
        self.pulses = {"start": 0, "abort": 0}

    def pin(self, channel, name):
        return getattr(self.dut, f"s_axi_{channel}{name}")

    async def start(self):
        await start(self.dut)
        cocotb.start_soon(self._watch())
        return self

    async def _watch(self):
        """Answers hold until taken; commands are pulses of one cycle, while a program runs."""
        held, before = {"b": None, "r": None}, {"start": 0, "abort": 0}
        while True:
            await RisingEdge(self.dut.clk)
            for channel in "br":
                valid = int(self.pin(channel, "valid").value)
                payload = [int(self.pin(channel, name).value) for name in self.CHANNELS[channel]]
                assert held[channel] is None or (valid and payload == held[channel]), f"{channel} did not hold"
                held[channel] = payload if valid and not int(self.pin(channel, "ready").value) else None
            for name in self.pulses:
                level = int(getattr(self.dut, name).value)
                assert not (level and before[name]), f"{name} lasts"
                assert not level or int(self.dut.running.value), f"{name} without a program"
                before[name] = level
                self.pulses[name] += level

    async def _send(self, channel, delay=0, **fields):
        for _ in range(delay):
            await RisingEdge(self.dut.clk)
        for name, value in fields.items():
            self.pin(channel, name).value = value
        self.pin(channel, "valid").value = 1
        while True:
            await RisingEdge(self.dut.clk)
            if int(self.pin(channel, "ready").value):
                break
        self.pin(channel, "valid").value = 0
        for name in fields:
            self.pin(channel, name).value = self.rng.getrandbits(4)

    async def _take(self, channel):
        ready, seen = False, None
        while True:
            await RisingEdge(self.dut.clk)
            if int(self.pin(channel, "valid").value) and seen is None:
                seen = cycle() - 1
            if ready and int(self.pin(channel, "valid").value):
                self.pin(channel, "ready").value = 0
                return seen, *(int(self.pin(channel, name).value) for name in self.CHANNELS[channel])
            ready = next(self.patterns[channel])
            self.pin(channel, "ready").value = int(ready)

    async def write(self, address, data, strb=0xf, lead=None):
        """The response. ``lead``: cycles that the address is before the data."""
        lead = self.rng.randint(-3, 3) if lead is None else lead
        sends = [cocotb.start_soon(self._send("aw", max(-lead, 0), addr=address)),
                 cocotb.start_soon(self._send("w", max(lead, 0), data=data, strb=strb))]
        self.access, response = await self._take("b")
        for task in sends:
            await task
        return response

    async def read(self, address):
        """(data, response)"""
        send = cocotb.start_soon(self._send("ar", addr=address))
        _, data, response = await self._take("r")
        await send
        return data, response

    async def get(self, name):
        data, response = await self.read(ADDRESS[name])
        assert response == OKAY, name
        return data

    async def put(self, name, value):
        assert await self.write(ADDRESS[name], value) == OKAY, name

    async def end(self, code=StatusCode.OK, **fault):
        self.dut.fault.value = pack(ProgramFault, {"code": code, **fault})
        self.dut.ended.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.ended.value, self.dut.fault.value = 0, self.rng.getrandbits(ProgramFault.size)


def exists(name, register):
    """Bits that a register stores."""
    bits = sum(((1 << field.width) - 1) << field.low for field in register.fields)
    if name.startswith(("PROGRAM", "WINDOW")) and name.endswith(("_LO", "_HI")):
        bits &= ((1 << CONFIG.addr_width) - 1) >> (32 if name.endswith("_HI") else 0)
    return bits


class Model:
    """What the registers hold and answer, apart from counters."""

    def __init__(self):
        self.stored = {name: 0 for name, register in TABLE.values()
                       if register.access in (Access.LOCKED, Access.SETTING)}
        self.running = False
        self.flags = dict.fromkeys(("done", "faulted", "aborted", "interrupt"), 0)
        self.fault, self.result, self.completed, self.kept = {}, 0, [0] * len(Unit), 0
        self.pulses = {"start": 0, "abort": 0}

    def write(self, address, data, strb):
        name, register = TABLE.get(address & ~3, (None, None))
        if register is None:
            return DECERR
        if register.access in (Access.CONSTANT, Access.STATE):
            return SLVERR
        if register.access == Access.COMMAND:
            bits = data & 7 if strb & 1 else 0
            if bits & START and (self.running or not self.stored["LENGTH"]):
                return SLVERR
            self.pulses["abort"] += bool(bits & ABORT and self.running)
            if bits & CLEAR:
                self.flags["interrupt"] = 0
            if bits & START:
                self.running, self.fault, self.result = True, {}, 0
                self.flags = dict.fromkeys(self.flags, 0)
                self.pulses["start"] += 1
            return OKAY
        if register.access == Access.LOCKED and self.running:
            return SLVERR
        mask = sum(0xff << 8 * byte for byte in range(4) if strb >> byte & 1) & exists(name, register)
        self.stored[name] = self.stored[name] & ~mask | data & mask
        return OKAY

    def end(self, fault):
        if not self.running:
            return
        code = fault["code"]
        self.running, self.fault = False, fault
        self.flags |= {"done": int(code is StatusCode.OK), "aborted": int(code is StatusCode.ABORTED), "interrupt": 1,
                       "faulted": int(code not in (StatusCode.OK, StatusCode.ABORTED))}

    def read(self, address):
        """(data, response); data is None where counters decide."""
        name, register = TABLE.get(address & ~3, (None, None))
        if register is None:
            return 0, DECERR
        nothing = {"code": StatusCode.OK, **dict.fromkeys(("unit", "detail", "address", "index", "instruction"), 0)}
        fault = {**nothing, **self.fault}
        state = {
            "STATUS": self.running | sum(flag << n for n, flag in enumerate(self.flags.values(), 1)), "CONTROL": 0,
            "FAULT": fault["code"].value | fault["detail"] << 8 | fault["unit"] << 16, "FAULT_INDEX": fault["index"],
            "FAULT_ADDRESS_LO": fault["address"] & 0xffff_ffff, "FAULT_ADDRESS_HI": fault["address"] >> 32,
            "FAULT_INSTRUCTION_LO": fault["instruction"] & 0xffff_ffff,
            "FAULT_INSTRUCTION_HI": fault["instruction"] >> 32, "RESULT_LO": self.result & 0xffff_ffff,
            **{f"COMPLETED_{unit.name}": self.completed[unit.value] for unit in Unit},
        }
        if name == "RESULT_LO":
            self.kept = self.result >> 32
        elif register.latch:
            self.kept = None
        if register.latched:
            return self.kept, OKAY
        return {**CONSTANTS, **self.stored, **state}.get(name), OKAY

    def pair(self, name):
        return self.stored[f"{name}_LO"] | self.stored[f"{name}_HI"] << 32


def check(dut, host, model):
    """The settings and state that the core sees."""
    assert int(dut.program.value) == model.pair("PROGRAM")
    assert int(dut.length.value) == model.stored["LENGTH"]
    assert int(dut.bus_timeout.value) == model.stored["BUS_TIMEOUT"]
    shape, bits = Window(CONFIG.addr_width), int(dut.windows.value)
    for n in range(WINDOWS):
        flags = model.stored[f"WINDOW_{n}_FLAGS"]
        assert unpack(shape, bits >> n * shape.size) == {
            "first": model.pair(f"WINDOW_{n}_FIRST"), "last": model.pair(f"WINDOW_{n}_LAST"),
            "readable": flags & 1, "writable": flags >> 1}, n
    own = unpack(shape, bits >> WINDOWS * shape.size)
    assert own == {"first": BASE, "last": (1 << CONFIG.addr_width) - 1, "readable": 1, "writable": 1}, own
    assert int(dut.running.value) == model.running
    assert int(dut.irq.value) == (model.flags["interrupt"] & model.stored["INTERRUPT_ENABLE"])
    assert host.pulses == model.pulses, (host.pulses, model.pulses)


def random_fault(rng):
    code = rng.choice((StatusCode.OK, StatusCode.ABORTED, *StatusCode))
    return {"code": code, "unit": rng.choice((*range(5), 7)), "detail": rng.getrandbits(8),
            "address": rng.getrandbits(48), "index": rng.getrandbits(16), "instruction": rng.getrandbits(48)}
