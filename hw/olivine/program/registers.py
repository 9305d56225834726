"""The host's registers in gateware: settings, commands, state and counters, as `olivine.control.registers` declares."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..control.instruction import INDEX_BITS, INSTRUCTION_BYTES, VERSION, ProgramFault, Unit
from ..control.job import StatusCode, Window
from ..control.registers import (
    ADDRESS_BITS,
    BY_NAME,
    IDENTIFIER,
    INTERFACE,
    PROGRAM_COUNTERS,
    REGISTERS,
    WINDOW_BASE,
    WINDOW_REGISTERS,
    WINDOW_STRIDE,
    Access,
)
from ..memory.axi import Response
from ..memory.checks import check_integer
from .axi_lite import DATA_BITS, AXI4Lite, LiteSlave
from .counters import NAMES, Counters, counts_layout

__all__ = ["Registers"]

TIMEOUT_BITS = 24
CONTROL = BY_NAME["CONTROL"]


class Registers(wiring.Component):
    """Settings and commands from the host, state and counters to it.

    Parameters
    ----------
    config : AcceleratorConfig
        With at least 2 windows: the last one is the scratchpad's.
    scratchpad_base, scratchpad_words : int
        Where the memory on chip lies, and how many beats it holds.

    Members
    -------
    bus : In(AXI4Lite(12))
    start : Out(1)
        A program begins: for one cycle, the first with ``running``.
    abort : Out(1)
        For one cycle, while ``running``: the host gives the program up.
    running : Out(1)
        From ``start`` until the cycle of ``ended``.
    program : Out(config.addr_width), length : Out(16)
        Of the program: its address and the number of its instructions, at least 1 with ``start``.
    windows : Out(ArrayLayout(Window, config.windows)), bus_timeout : Out(24)
        Those of the host, and behind them the scratchpad's, readable and writable. They, the program and its length
        hold still while ``running``.
    ended : In(1), fault : In(ProgramFault)
        The program is over, and nothing of it is under way; why, looked at in that cycle only: OK is done, ABORTED
        is aborted, any other code is faulted.
    result_valid : In(1), result : In(48)
        An operation on the cache has an answer.
    completed : In(ArrayLayout(16, 5))
        Instructions that are complete since the start, by `Unit`.
    counts : In(counts_layout)
        Looked at while ``running``, see `Counters`.
    irq : Out(1)

    A write that is refused changes nothing. Where a clear of the interrupt meets the end of a program, the interrupt
    stays. Cycles: those of `LiteSlave`, a read two more, of a counter's lower half or a tally up to `ROUND` + 5 more;
    ``start`` and ``abort`` are in the cycle after the access, with its answer.

    Cost: `Counters`; registers of 5 words a window; a choice of one word of all registers.
    """

    def __init__(self, config, scratchpad_base, scratchpad_words):
        self.config = config
        if config.windows < 2:
            raise ValueError(f"windows is {config.windows}: allowed is 2 to 16, the last is the scratchpad's")
        top = 1 << config.addr_width
        self.scratchpad_base = check_integer("scratchpad_base", scratchpad_base, 0, top - 1)
        self.scratchpad_words = check_integer("scratchpad_words", scratchpad_words, 1,
                                              (top - scratchpad_base) // config.bus_bytes)
        super().__init__({
            "bus": In(AXI4Lite(ADDRESS_BITS)),
            "start": Out(1), "abort": Out(1), "running": Out(1), "program": Out(config.addr_width),
            "length": Out(INDEX_BITS),
            "windows": Out(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": Out(TIMEOUT_BITS), "ended": In(1), "fault": In(ProgramFault), "result_valid": In(1),
            "result": In(48), "completed": In(data.ArrayLayout(unsigned(INDEX_BITS), len(Unit))),
            "counts": In(counts_layout(config)), "irq": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = slave = LiteSlave(ADDRESS_BITS)
        wiring.connect(m, wiring.flipped(self.bus), slave.bus)
        write, read = slave.write, slave.read
        windows = self.config.windows - 1
        table = [(register.name, register.offset >> 2, register) for register in REGISTERS]
        table += [(f"WINDOW_{index}_{register.name}", WINDOW_BASE + index * WINDOW_STRIDE + register.offset >> 2,
                   register) for index in range(windows) for register in WINDOW_REGISTERS]

        stored = {name: {field.name: self._storage(name, field) for field in register.fields}
                  for name, _, register in table if register.access in (Access.LOCKED, Access.SETTING)}
        commands = Signal(len(CONTROL.fields))
        values = {**self._constants(), **stored, **self._state(m, stored, commands)}
        kept = Signal(DATA_BITS)
        m.submodules.counters = counters = Counters(self.config)
        m.d.comb += [counters.clear.eq(self.start), counters.running.eq(self.running), counters.counts.eq(self.counts)]
        counted = {name.upper() + ("_LO" if name in PROGRAM_COUNTERS else ""): index
                   for index, name in enumerate(NAMES)}

        # Registers lie far apart: what is written is stored a cycle later, when each knows that it is meant.
        stores = {name: Signal(name=f"store_{name}") for name in stored}
        late = Signal.like(write, reset_less=True)
        m.d.sync += [late.eq(write), *(store.eq(0) for store in stores.values())]
        m.d.comb += slave.write_resp.eq(Response.DECERR)
        with m.Switch(write.word):
            for name, word, register in table:
                with m.Case(word):
                    refused = self._refused(register, write, stored)
                    m.d.comb += slave.write_resp.eq(Mux(refused, Response.SLVERR, Response.OKAY))
                    if register.access == Access.COMMAND:
                        with m.If(write.valid & ~refused):
                            m.d.comb += commands.eq(write.data & write.strb[0].replicate(len(commands)))
                    elif name in stored:
                        m.d.sync += stores[name].eq(write.valid & ~refused)
        for name, _, register in table:
            if name in stored:
                with m.If(stores[name]):
                    for field in register.fields:
                        self._store(m, stored[name][field.name], field, late)

        # Which register is read is found out in a cycle of its own; then it is one bit of many. What kind it is of, and
        # whether there is one, is known a cycle after that.
        looked, hits, known, waits, latches = Signal(), Signal(len(table)), Signal(), Signal(), Signal()
        m.d.sync += [looked.eq(read.valid & ~slave.read_ready), known.eq(looked & ~slave.read_ready),
                     hits.eq(Cat(read.word == word for _, word, _ in table)),
                     slave.read_resp.eq(Mux(hits.any(), Response.OKAY, Response.DECERR))]
        # One at most: an AND and an OR for each bit, no choice behind a choice.
        answers, partners, numbers, kinds = [], [], [], [Const(0)]
        for hit, (name, _, register) in zip(hits, table):
            def only(value, hit=hit):
                return value & hit.replicate(len(value))

            if name in counted:
                kinds.append(hit)
                numbers.append(only(Const(counted[name], counters.index.shape())))
            own = (counters.value[:DATA_BITS] if name in counted
                   else kept if register.latched else _word(register, values.get(name)))
            answers.append(only(own))
            if register.latch:
                partner = name.removesuffix("LO") + "HI"
                upper = next(r for n, _, r in table if n == partner)
                partners.append((hit, only(counters.value[DATA_BITS:] if name in counted
                                           else _word(upper, values[partner]))))
        m.d.comb += [
            slave.read_data.eq(reduce(or_, answers)), slave.read_ready.eq(known & (~waits | counters.answered)),
            counters.ask.eq(known & waits),
        ]
        m.d.sync += [waits.eq(reduce(or_, kinds)), counters.index.eq(reduce(or_, numbers)),
                     latches.eq(reduce(or_, (hit for hit, _ in partners)))]
        with m.If(slave.read_ready & latches):
            m.d.sync += kept.eq(reduce(or_, (value for _, value in partners)))
        return m

    def _storage(self, name, field):
        """The bits of a field that exist: an address has no more than the bus."""
        width = field.width
        if field.name in ("low", "high"):
            first = field.low + (32 if field.name == "high" else 0)
            width = max(0, min(width, self.config.addr_width - first))
        return Signal(width, init=field.reset, name=f"{name}_{field.name}") if width else Const(0, 0)

    def _refused(self, register, write, stored):
        if register.access in (Access.CONSTANT, Access.STATE):
            return Const(1)
        if register.access == Access.LOCKED:
            return self.running
        if register.access == Access.COMMAND:
            return write.data[0] & write.strb[0] & (self.running | (stored["LENGTH"]["length"] == 0))
        return Const(0)

    @staticmethod
    def _store(m, target, field, write):
        """The bytes that the strobes enable."""
        for byte in range(DATA_BITS // 8):
            low, high = max(8 * byte, field.low), min(8 * byte + 8, field.low + len(target))
            if low < high:
                with m.If(write.strb[byte]):
                    m.d.sync += target[low - field.low:high - field.low].eq(write.data[low:high])

    def _constants(self):
        config = self.config
        return {
            "ID": {"id": IDENTIFIER}, "VERSION": {"registers": INTERFACE, "instructions": VERSION},
            "ARRAY": {"rows": config.rows, "lanes": config.lanes},
            "BUS": {"bus_bytes": config.bus_bytes, "addr_width": config.addr_width, "contexts": config.contexts,
                    "windows": config.windows - 1},
            "MODEL": {"max_reduction": config.max_reduction, "max_head_dim": config.max_head_dim},
            "SEQUENCE": {"max_sequence": config.max_sequence},
            "CACHE": {"sequences": config.sequences, "cells": config.cells}, "BLOCKS": {"blocks": config.blocks},
            "SCRATCHPAD_WORDS": {"words": self.scratchpad_words},
            "SCRATCHPAD_LO": {"low": self.scratchpad_base & 0xffff_ffff},
            "SCRATCHPAD_HI": {"high": self.scratchpad_base >> 32},
        }

    def _state(self, m, stored, commands):
        """State and counters, and what is said to the core; returns the readable values."""
        ended = self.ended & self.running
        status = {name: Signal(name=name) for name in ("done", "faulted", "aborted", "interrupt")}
        fault, result = Signal(ProgramFault), Signal(48)
        start, abort, clear = commands
        m.d.sync += [self.start.eq(start), self.abort.eq(abort & self.running & ~ended)]
        with m.If(clear):
            m.d.sync += status["interrupt"].eq(0)
        with m.If(start):
            m.d.sync += [self.running.eq(1), *(flag.eq(0) for flag in status.values())]
        with m.Elif(ended):
            good, given_up = self.fault.code == StatusCode.OK, self.fault.code == StatusCode.ABORTED
            m.d.sync += [self.running.eq(0), fault.eq(self.fault), status["interrupt"].eq(1),
                         status["done"].eq(good), status["aborted"].eq(given_up),
                         status["faulted"].eq(~good & ~given_up)]
        # That a program starts is known late: what is wide is cleared a cycle after.
        with m.If(self.start):
            m.d.sync += [fault.eq(0), result.eq(0)]
        with m.Elif(self.result_valid):
            m.d.sync += result.eq(self.result)

        def join(name):
            return Cat(stored[f"{name}_LO"]["low"], stored[f"{name}_HI"]["high"])

        m.d.comb += [
            self.program.eq(join("PROGRAM") << exact_log2(INSTRUCTION_BYTES)),
            self.length.eq(stored["LENGTH"]["length"]), self.bus_timeout.eq(stored["BUS_TIMEOUT"]["cycles"]),
            self.irq.eq(status["interrupt"] & stored["INTERRUPT_ENABLE"]["enable"]),
        ]
        for index in range(self.config.windows - 1):
            window, name = self.windows[index], f"WINDOW_{index}"
            m.d.comb += [window.first.eq(join(f"{name}_FIRST")), window.last.eq(join(f"{name}_LAST")),
                         *(window[field].eq(stored[f"{name}_FLAGS"][field]) for field in ("readable", "writable"))]
        own = self.windows[self.config.windows - 1]
        last = self.scratchpad_base + self.scratchpad_words * self.config.bus_bytes - 1
        m.d.comb += [own.first.eq(self.scratchpad_base), own.last.eq(last), own.readable.eq(1), own.writable.eq(1)]

        values = {"STATUS": {"running": self.running, **status},
                  "FAULT": {name: fault[name] for name in ("code", "detail", "unit")},
                  "FAULT_INDEX": {"index": fault.index},
                  **{f"COMPLETED_{unit.name}": {"count": self.completed[unit.value]} for unit in Unit}}
        pairs = {"FAULT_ADDRESS": fault.address, "FAULT_INSTRUCTION": fault.instruction, "RESULT": result}
        for name, value in pairs.items():
            values |= {f"{name}_LO": {"low": value[:32]}, f"{name}_HI": {"high": value[32:]}}
        return values


def _word(register, values):
    """The 32 bits that a read gives; a command has none."""
    word = Const(0, DATA_BITS)
    for field in register.fields if values is not None else ():
        word = word | (Value.cast(values[field.name]) << field.low)
    return word[:DATA_BITS]
