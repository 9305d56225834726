"""Reads the instructions of a program ahead of their turn, and checks their headers."""

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..control.instruction import (
    FETCH,
    FIELDS,
    HEADER_DETAIL,
    INDEX_BITS,
    INSTRUCTION_BYTES,
    PAYLOAD_BITS,
    SHORT_BITS,
    SLOTS,
    VERSION,
    Instruction,
    Opening,
    ProgramFault,
    Unit,
    fetched_layout,
    unit_of,
    waits_layout,
    word_layout,
)
from ..control.job import StatusCode, Window
from ..control.lifecycle import fault_layout, first_fault
from ..memory.axi import ReadPort
from ..memory.faults import bus_faults
from ..memory.guard import AddressGuard
from ..memory.monitor import BusMonitor
from ..memory.reader import BurstReader
from ..memory.watchdog import Watchdog

__all__ = ["AHEAD", "InstructionFetch"]

TIMEOUT_BITS = 24

AHEAD = 8
"""Instructions that are asked for before their turn."""

_PLACE = (INSTRUCTION_BYTES - 1).bit_length()   # bits of an address within an instruction
_AHEAD_BITS = (2 * AHEAD - 1).bit_length()      # the guard and the reader hold one or two more than `AHEAD`


class InstructionFetch(wiring.Component):
    """Reads a program's instructions in order: hands on their words as they come, and then who is to have them.

    Parameters
    ----------
    config : AcceleratorConfig
        Its beats are of 64 bytes at most.

    Members
    -------
    start : In(1)
        For one cycle, when the last program has ended or was given up: the next begins, as soon as ``idle``.
    address : In(config.addr_width), length : In(16)
        Where its first instruction lies (the low 6 bits do not matter), and how many it has, at least 1. From ``start``
        on, constant while it is read.
    abort : In(1)
        Gives up the program, or the start that waits. For one cycle or more.
    windows : In(ArrayLayout(Window, config.windows)), bus_timeout : In(24)
        As of the engines. Constant like these.
    o_word : Out(word_layout)
        A word of the instruction whose turn it is, in order, to be kept until somebody else wants its slot. ``slot`` is
        the instruction's also while there is no word.
    room : In(1)
        Slot ``o_word.slot`` is free; it stays free until the instruction is taken.
    o_instruction : Out(stream(fetched_layout))
        All its words were handed on, and its header is legal. Holds until taken, except for ``abort``. After the last
        one nothing more comes.
    o_fault : Out(stream(ProgramFault))
        The instruction whose turn it is cannot be had, or its header is illegal: offered when all before it are taken,
        and the end of the program. Holds until taken, except for ``abort``.
    idle : Out(1)
        No program is read, and the bus owes nothing.
    port : Out(ReadPort)

    What is read ahead harms nobody: a refused address, an error and silence of the bus count when it is the
    instruction's turn. Nothing is read past ``length`` instructions. Behind one that says ``last``, a few may have been
    asked for, and are dropped.

    An instruction is illegal if its version is another one, if bits that must be 0 are not, if nobody has its opcode,
    or if it waits for more of a unit's instructions than came before it. The first in the order of `FIELDS` is told.

    Cycles, where nothing stalls: the first address 7 after ``start``; an instruction is offered 5 after its last beat,
    and from one to the next it takes its beats and 2.

    Cost: `AHEAD` instructions of queue, a register of the words that hold an `Opening`, two additions of an address,
    five counters and comparators of 16 bits.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(1), "address": In(config.addr_width), "length": In(INDEX_BITS), "abort": In(1),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)), "bus_timeout": In(TIMEOUT_BITS),
            "o_word": Out(word_layout(config.bus_bits)), "room": In(1),
            "o_instruction": Out(stream.Signature(fetched_layout)), "o_fault": Out(stream.Signature(ProgramFault)),
            "idle": Out(1), "port": Out(ReadPort(config.addr_width, config.bus_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        beats = INSTRUCTION_BYTES // config.bus_bytes
        # One bit more: a program that runs past the last address is refused there.
        width = config.addr_width + 1
        running, waiting = Signal(), Signal()
        m.submodules.guard = guard = ResetInserter(~running)(
            AddressGuard(width, config.windows, write=False, window_width=config.addr_width))
        m.submodules.reader = reader = BurstReader(
            config.addr_width, config.bus_bytes, 0, max(AHEAD * beats, 4), beats, realign=False, max_outstanding=AHEAD)
        m.submodules.monitor = monitor = BusMonitor()
        m.submodules.watchdog = watchdog = Watchdog(TIMEOUT_BITS)
        wiring.connect(m, reader.port, wiring.flipped(self.port))
        m.d.comb += [monitor.listen(self.port), watchdog.limit.eq(self.bus_timeout),
                     watchdog.waiting.eq(waiting & monitor.waiting), watchdog.progress.eq(monitor.progress)]

        # Addresses, ahead.
        def lies(number):
            """Where an instruction lies."""
            return Cat(Const(0, _PLACE), self.address[_PLACE:] + number)[:width]

        asked = Signal(INDEX_BITS)
        m.d.comb += [
            guard.i.payload.addr.eq(lies(asked)), guard.i.payload.bytes.eq(INSTRUCTION_BYTES),
            guard.i.valid.eq(running & (asked != self.length)),
            reader.i.payload.addr.eq(guard.o.payload.addr), reader.i.payload.last.eq(guard.o.payload.last),
            reader.i.valid.eq(guard.o.valid), guard.o.ready.eq(reader.i.ready), reader.abort.eq(~running),
            *(getattr(guard.windows[index], name).eq(getattr(self.windows[index], name))
              for index in range(config.windows) for name in ("first", "last", "readable", "writable")),
        ]
        with m.If(guard.i.valid & guard.i.ready):
            m.d.sync += asked.eq(asked + 1)

        # The instruction whose turn it is. Of where a fault lies only the place within it must be kept.
        opening = -(-Opening.size // config.bus_bits)      # words
        begins = Signal(opening * config.bus_bits)
        held = data.View(Opening, begins[:Opening.size])
        failure, fault = Signal(fault_layout), Signal(fault_layout)
        index, here, place, silent = Signal(INDEX_BITS), Signal(width), Signal(_PLACE), Signal()
        # Where it lies is known a cycle after its index: until then no fault can be said to be its own.
        lies_there = Signal()
        m.d.sync += [here.eq(lies(index)), lies_there.eq(0)]
        following, issued, wanted = Signal(INDEX_BITS), Signal(waits_layout), Signal()
        word, instruction = reader.o, self.o_instruction
        number, beyond = Signal(range(beats)), Signal()     # of the next word; bits that a short descriptor leaves
        of_opcode, known, long = unit_of(held.opcode)
        # Known a cycle after the instruction.
        unit, last = Signal.like(of_opcode), Signal()
        out = instruction.payload
        m.d.comb += [
            following.eq(index + 1), out.unit.eq(unit), out.last.eq(last),
            out.index.eq(index), self.o_word.slot.eq(index[:exact_log2(SLOTS)]), self.o_word.place.eq(number),
            self.o_word.data.eq(word.payload.data), self.o_word.valid.eq(word.valid & word.ready),
            *(self.o_fault.payload[name].eq(value) for name, value in {
                "code": fault.code, "unit": FETCH, "detail": fault.detail,
                "address": Mux(silent, 0, here | place), "index": index, "instruction": here}.items()),
        ]

        def turn(address):
            """Of the few instructions that are asked for, whether it is that one's."""
            return address[_PLACE:_PLACE + _AHEAD_BITS] == here[_PLACE:_PLACE + _AHEAD_BITS]

        first_fault(m, [
            *((condition & turn(address), code, address) for condition, code, address in bus_faults([reader])),
            (guard.fault.valid & turn(guard.fault.addr), StatusCode.GUARD_READ, guard.fault.addr),
            (watchdog.expired, StatusCode.TIMEOUT, 0),
        ], failure)
        illegal = {
            "version": held.version != VERSION, "zero_flags": held.zero_flags != 0,
            **{f"wait_{kind.name.lower()}": held.waits[kind.value] > issued[kind.value] for kind in Unit},
            "opcode": ~known, "zero_payload": ~long & beyond,
        }

        # Which of them: told a cycle later.
        wrong, bad = Signal(len(illegal)), Signal()
        m.d.comb += bad.eq(wrong.any())

        def give_up():
            with m.If(self.abort):
                m.next = "DRAIN"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(~wanted)
                m.d.sync += wanted.eq(0)
                m.d.sync += [asked.eq(0), index.eq(0), issued.eq(0), number.eq(0)]
                with m.If((self.start | wanted) & ~self.abort):
                    m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += [running.eq(1), word.ready.eq(self.room), waiting.eq(~word.valid)]
                m.d.sync += lies_there.eq(1)
                with m.If(word.valid & self.room):
                    m.d.sync += [number.eq(number + 1),
                                 beyond.eq((number != 0) & beyond | self._beyond(number, word.payload.data.as_value()))]
                    with m.If(number < opening):
                        m.d.sync += begins.eq(Cat(begins, word.payload.data)[config.bus_bits:])
                    with m.If(word.payload.last):
                        m.next = "CHECK"
                with m.Elif(failure.valid & lies_there):
                    m.d.sync += [fault.code.eq(failure.code), fault.detail.eq(0), place.eq(failure.address),
                                 silent.eq(failure.code == StatusCode.TIMEOUT)]
                    m.next = "FAULT"
                give_up()
            with m.State("CHECK"):
                m.d.comb += running.eq(1)
                m.d.sync += [wrong.eq(Cat(illegal.values())), unit.eq(of_opcode),
                             last.eq(held.last | (following == self.length)),
                             fault.code.eq(StatusCode.BAD_FIELD), place.eq(0), silent.eq(0)]
                m.next = "OFFER"
                give_up()
            with m.State("OFFER"):
                m.d.comb += [running.eq(1), instruction.valid.eq(~bad)]
                with m.If(bad):
                    for name in reversed(FIELDS):
                        if name in illegal:
                            with m.If(wrong[list(illegal).index(name)]):
                                m.d.sync += fault.detail.eq(HEADER_DETAIL + FIELDS.index(name))
                    m.next = "FAULT"
                with m.Elif(instruction.ready):
                    m.d.sync += index.eq(following)
                    m.d.sync += [issued[kind.value].eq(issued[kind.value] + (unit == kind.value)) for kind in Unit]
                    m.next = "FILL"
                    with m.If(out.last):
                        m.next = "DRAIN"
                give_up()
            with m.State("FAULT"):
                m.d.comb += [running.eq(1), self.o_fault.valid.eq(1)]
                with m.If(self.o_fault.ready):
                    m.next = "DRAIN"
                give_up()
            with m.State("DRAIN"):
                m.d.sync += wanted.eq((wanted | self.start) & ~self.abort)
                with m.If(reader.idle):
                    m.next = "IDLE"
        return m

    def _beyond(self, number, word):
        """Whether an instruction's word has bits behind those of a short descriptor."""
        bits, short = self.config.bus_bits, Instruction.size - PAYLOAD_BITS + SHORT_BITS
        return Cat((number == place) & word[max(short - place * bits, 0):].any()
                   for place in range(short // bits, Instruction.size // bits)).any()
