"""InstructionFetch among memory and a dispatcher: random programs, what must come of them, and the bench.

Parameters: OLIVINE_CONFIG; OLIVINE_TRIALS.
"""

import json
import os
import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from olivine.config import AcceleratorConfig
from olivine.control.instruction import (
    FETCH,
    FIELDS,
    HEADER_DETAIL,
    OPCODES,
    PAYLOAD_BITS,
    SHORT_BITS,
    SLOTS,
    VERSION,
    Instruction,
    ProgramFault,
    Unit,
    fetched_layout,
    word_layout,
)
from olivine.control.job import StatusCode, Window

from tb.axi_memory import DECERR, SLVERR, AxiMemory
from tb.streams import PATTERNS, StreamChecker, StreamSink, pack, start, unpack

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))
TRIALS = int(os.environ["OLIVINE_TRIALS"])
B = CONFIG.bus_bytes
BEATS = 64 // B
SIZE = 1 << 16
WORD = word_layout(CONFIG.bus_bits)
CODES = {SLVERR: StatusCode.READ_SLVERR, DECERR: StatusCode.READ_DECERR}


def random_program(rng, length):
    """Legal instructions: fields of `Instruction`."""
    issued, program = [0] * len(Unit), []
    for index in range(length):
        opcode = rng.choice(list(OPCODES))
        unit = OPCODES[opcode]
        bits = PAYLOAD_BITS if unit is Unit.VECTOR else SHORT_BITS
        program.append({"version": VERSION, "last": int(index == length - 1 and rng.getrandbits(1)), "zero_flags": 0,
                        "waits": [rng.choice((0, count, rng.randint(0, count))) for count in issued],
                        "payload": rng.getrandbits(bits) & ~0xff | opcode})
        issued[unit.value] += 1
    return program


def illegal_field(instruction, issued):
    """The first field that is illegal, by the rules of `olivine.control.instruction`, or None."""
    unit = OPCODES.get(instruction["payload"] & 0xff)
    wrong = {
        "version": instruction["version"] != VERSION, "zero_flags": instruction["zero_flags"] != 0,
        **{f"wait_{kind.name.lower()}": instruction["waits"][kind.value] > issued[kind.value] for kind in Unit},
        "opcode": unit is None, "zero_payload": unit is not Unit.VECTOR and instruction["payload"] >> SHORT_BITS != 0,
    }
    return next((field for field in FIELDS if wrong.get(field)), None)


def model(program, address, length):
    """What must come out: instructions, and the fault behind them or None."""
    issued, out = [0] * len(Unit), []
    for index in range(length):
        instruction, here = program[index], address + 64 * index
        if field := illegal_field(instruction, issued):
            return out, fault_at(index, address, StatusCode.BAD_FIELD, here, HEADER_DETAIL + FIELDS.index(field))
        unit = OPCODES[instruction["payload"] & 0xff]
        last = bool(instruction["last"]) or index == length - 1
        out.append({"unit": unit, "last": int(last), "index": index, "bits": pack(Instruction, instruction)})
        issued[unit.value] += 1
        if last:
            break
    return out, None


def fault_at(index, address, code, where, detail=0):
    return {"code": code, "unit": FETCH, "detail": detail, "address": where, "index": index,
            "instruction": address + 64 * index}


class Store:
    """Keeps the words of instructions, and has room for each when it likes.

    Attributes
    ----------
    taken : list of dict
        Instructions that were taken: `fetched_layout`, and ``bits``, all words that its slot has.
    """

    def __init__(self, dut, sink, pattern, seed):
        self.dut, self.sink, self.taken, self.slots = dut, sink, [], [{} for _ in range(SLOTS)]
        self._willing = PATTERNS[pattern](f"room {seed}")
        dut.room.value = 0
        cocotb.start_soon(self._run())

    async def _run(self):
        dut, room = self.dut, False
        while True:
            await RisingEdge(dut.aclk)
            word = unpack(WORD, int(dut.o_word.value)) if dut.o_word.value.is_resolvable else {"valid": 0}
            if word["valid"]:
                assert room, "a word without room"
                if word["place"] == 0:
                    self.slots[word["slot"]] = {}
                assert word["place"] == len(self.slots[word["slot"]]), "words are in order"
                self.slots[word["slot"]][word["place"]] = word["data"]
            # The next instruction's words come two cycles after one was taken, at the earliest.
            for bits in self.sink.received[len(self.taken):]:
                seen, room = unpack(fetched_layout, bits), False
                words = self.slots[seen["index"] % SLOTS]
                self.taken.append({**seen, "bits": sum(data << 8 * B * place for place, data in words.items())})
            # Once there is room for an instruction, there is until it is taken.
            room = room or next(self._willing)
            dut.room.value = int(room)


class Bench:
    """The fetch unit, memory and a dispatcher that takes instructions and faults."""

    def __init__(self, dut, seed=1, check=True, take="always", take_fault="always", room="always", **memory):
        self.dut, self.rng = dut, random.Random(f"{seed}")
        for name in ("start", "address", "length", "abort", "bus_timeout"):
            getattr(dut, name).value = 0
        self.memory = AxiMemory(dut, size=SIZE, seed=seed, **memory).start()
        self.sink = StreamSink(dut, "o_instruction", take, seed)
        self.store = Store(dut, self.sink, room, seed)
        self.faults = StreamSink(dut, "o_fault", take_fault, seed)
        if check:
            StreamChecker(dut, "o_instruction"), StreamChecker(dut, "o_fault")
        self.open((0, (1 << CONFIG.addr_width) - 1, 1))

    def open(self, *entries):
        """Windows (first, last, readable); the others are closed but writable."""
        shape = Window(CONFIG.addr_width)
        windows = [{"first": first, "last": last, "readable": readable, "writable": 1 - readable}
                   for first, last, readable in entries]
        windows += [{"first": 0, "last": SIZE - 1, "writable": 1}] * (CONFIG.windows - len(windows))
        self.dut.windows.value = sum(pack(shape, window) << n * shape.size for n, window in enumerate(windows))

    async def start(self):
        await start(self.dut, clock="aclk", reset="aresetn", active_low=True)
        return self

    async def cycles(self, count):
        if count:
            await ClockCycles(self.dut.aclk, count)

    def stall(self, seed):
        for channel in ("ar", "r"):
            self.memory.set_pattern(channel, self.rng.choice(list(PATTERNS)), seed)

    def load(self, program, address):
        image = b"".join(pack(Instruction, instruction).to_bytes(64, "little") for instruction in program)
        fits = min(len(image), SIZE - address)
        self.memory.write(address, image[:fits])

    def place(self, length):
        return 64 * self.rng.randrange(SIZE // 64 - length)

    async def begin(self, address, length):
        dut = self.dut
        # What is below the instruction's size does not matter.
        dut.address.value, dut.length.value, dut.start.value = address | self.rng.randrange(64), length, 1
        await RisingEdge(dut.aclk)
        dut.start.value = 0

    async def expect(self, instructions, fault):
        await self.sink.collect(len(instructions), 50_000)
        got = self.store.taken[self.sink._taken - len(instructions):self.sink._taken]
        for seen, want in zip(got, instructions, strict=True):
            assert seen == want, (seen, want)
        if fault is not None:
            seen = unpack(ProgramFault, (await self.faults.collect(1))[0])
            assert seen == fault, (seen, fault)
            if instructions:
                assert self.faults.cycles[-1] > self.sink.cycles[-1], "the fault came before an instruction was taken"
        await self.settle()

    def forget(self):
        """What came so far is no concern of the next `expect`."""
        self.sink._taken, self.faults._taken = len(self.sink.received), len(self.faults.received)

    async def settle(self):
        """It becomes idle, and nothing else comes."""
        total, faults = len(self.sink.received), len(self.faults.received)
        for _ in range(5_000):
            await RisingEdge(self.dut.aclk)
            if int(self.dut.idle.value):
                break
        else:
            raise AssertionError("not idle")
        assert not self.memory.outstanding
        await self.cycles(20)
        assert (len(self.sink.received), len(self.faults.received)) == (total, faults), "something came behind the end"
        assert int(self.dut.idle.value)

    async def run(self, program, address=None, length=None, fault=None, alone=True):
        """A program to its end; ``fault`` in place of what the model says, behind the instructions before it. If it is
        ``alone``, all that is read is its own."""
        length = len(program) if length is None else length
        address = self.place(length) if address is None else address
        self.load(program, address)
        before = len(self.memory.reads)
        instructions, wrong = model(program, address, length)
        if fault is not None and (wrong is None or fault["index"] < wrong["index"]):
            instructions, wrong = instructions[:fault["index"]], fault
        await self.begin(address, length)
        await self.expect(instructions, wrong)
        for burst in self.memory.reads[before:] if alone else ():
            assert address <= burst.address < address + 64 * length and burst.beats == BEATS, burst
