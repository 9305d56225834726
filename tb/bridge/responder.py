"""The responder, byte by byte against its model: answers, what it did behind its back, and what it drops."""

import cocotb
from cocotb.triggers import RisingEdge
from olivine.bridge.frames import COBS_BLOCK, DELIMITER, HEADER_BYTES, RESET_CYCLES, VERSION, Code, Operation
from olivine.memory.axi import Response
from olivine_host.board.frame import Frame, stuffed

from tb.axi_memory import DECERR, SLVERR
from tb.bridge.rig import ADDR_WIDTH, BEAT, PAYLOAD, TIMEOUT, Rig
from tb.streams import cycle

test = cocotb.test(timeout_time=20, timeout_unit="ms")
STATUS, READ, WRITE = Operation.STATUS, Operation.READ_MEMORY, Operation.WRITE_MEMORY
READ_REGISTER, WRITE_REGISTER = Operation.READ_REGISTER, Operation.WRITE_REGISTER
ZERO = bytes([DELIMITER])


async def answers_right(dut, pattern):
    """Every operation, legal, in any order, over stalls of all channels."""
    rig = await Rig(dut, pattern=pattern, seed=len(pattern)).start()
    operations = [Operation.IDENTIFY, STATUS, READ_REGISTER, WRITE_REGISTER, READ, WRITE]
    for sequence, operation in enumerate(operations + [rig.rng.choice(operations) for _ in range(6)]):
        dut.irq.value = rig.model.irq = rig.rng.getrandbits(1)
        dut.board.value = rig.model.board = rig.rng.getrandbits(8)
        await rig.ask(operation, sequence)
    count = min(PAYLOAD, 20 * BEAT)
    for sequence, place in enumerate((0, BEAT, len(rig.model.memory) - count, 4096 - BEAT), 100):
        await rig.ask(WRITE, sequence, address=place, count=count)
        await rig.ask(READ, sequence + 50, address=place, count=count)
    await rig.ask(WRITE, 250, count=BEAT, payload=bytes(BEAT))
    rig.same_memory()


for _pattern in ("always", "half", "bursty", "rare"):
    @test
    async def answers(dut, pattern=_pattern):
        await answers_right(dut, pattern)
    answers.name = answers.__qualname__ = f"answers_{_pattern}"
    globals()[answers.name] = answers
del answers


@test
async def refuses(dut):
    """Whatever is illegal is answered with its code, and nothing is done."""
    rig = await Rig(dut).start()
    last, space = len(rig.model.memory) - BEAT, 1 << ADDR_WIDTH
    wrong = [
        (READ, {"version": VERSION + 1}), (WRITE_REGISTER, {"version": 0}), (Operation.IDENTIFY, {"version": 77}),
        (0x05, {}), (0x15, {}), (0x7f, {"payload": b"abc", "count": 3}), (0xff, {}),
        (READ_REGISTER, {"address": 2}), (READ_REGISTER, {"address": 0x1000}), (READ_REGISTER, {"address": 1 << 47}),
        (READ_REGISTER, {"count": 8}), (READ_REGISTER, {"count": 0}), (WRITE_REGISTER, {"count": 8}),
        (WRITE_REGISTER, {"address": 0x1040}), (WRITE_REGISTER, {"address": 0x41}),
        *((operation, fields) for operation in (READ, WRITE) for fields in (
            {"address": 1}, {"address": BEAT // 2}, {"address": space}, {"address": 1 << 47},
            {"address": last, "count": 2 * BEAT}, {"address": space - PAYLOAD + BEAT, "count": PAYLOAD},
            {"count": 0, "address": 0}, {"count": BEAT + 1, "address": 0}, {"count": BEAT - 1, "address": 0})),
        (READ, {"count": PAYLOAD + BEAT, "address": 0}), (READ, {"count": 1 << 15, "address": 0}),
    ]
    for sequence, (operation, fields) in enumerate(wrong):
        answer = await rig.ask(operation, sequence, **fields)
        assert answer.code not in (Code.OK, Code.BUSY), (operation, fields)
    assert not (rig.memory.reads or rig.memory.writes or rig.registers.done)
    if space == len(rig.model.memory):
        assert (await rig.ask(READ, 200, address=space - BEAT, count=BEAT)).code == Code.OK
    rig.same_memory()


@test
async def repeats(dut):
    """A sequence number that comes again is answered from what was done, except where reading again is harmless."""
    rig = await Rig(dut).start()
    write = rig.request(WRITE_REGISTER, 1, address=0x40)
    read = rig.request(READ_REGISTER, 2, address=0x40)
    for frame in (write, write, write, read):
        await rig.exchange(frame)
    rig.registers.values[0x40] = rig.model.registers[0x40] = 0x600d
    await rig.exchange(read)                        # remembered
    await rig.ask(STATUS, 3)
    dut.irq.value = rig.model.irq = 1
    await rig.ask(STATUS, 3)                        # remembered
    await rig.ask(STATUS, 4)
    # Memory is written once, and read again.
    write = rig.request(WRITE, 5, address=0x100, count=4 * BEAT)
    await rig.exchange(write)
    for memory in (rig.memory.memory, rig.model.memory):
        memory[0x100] ^= 0xff
    await rig.exchange(write)
    read = rig.request(READ, 6, address=0x100, count=4 * BEAT)
    await rig.exchange(read)
    for memory in (rig.memory.memory, rig.model.memory):
        memory[0x101] ^= 0xff
    await rig.exchange(read)
    assert len(rig.memory.writes) == 1 and len(rig.memory.reads) == 2
    # Errors are remembered too, and a repeat over a frame that was damaged in between.
    failing = rig.request(WRITE_REGISTER, 7, address=0x200)
    await rig.exchange(failing)
    rig.registers.values[0x200] = rig.model.registers[0x200] = 1
    await rig.feed(b"\x05garbage" * 9 + ZERO)
    assert (await rig.exchange(failing)).code == Code.DECERR
    # After IDENTIFY every number is new; IDENTIFY itself is always answered as such.
    await rig.ask(Operation.IDENTIFY, 7, address=0x123456789abc)
    assert (await rig.exchange(failing)).code == Code.OK
    await rig.ask(Operation.IDENTIFY, 7)
    rig.same_memory()


@test
async def drops_damaged(dut):
    """Flipped bits, cut frames, bytes too many, garbage: no answer, nothing done, counted, and the next is right."""
    rig = await Rig(dut).start()
    rng = rig.rng
    for count in (BEAT, PAYLOAD):
        image = rig.request(WRITE, 1, count=count).pack()
        for _ in range(20):
            kind = rng.choice(("flip", "cut", "insert", "swap"))
            content = bytearray(image[:-1])
            place = rng.randrange(len(content))
            if kind == "flip":
                content[place] ^= 1 << rng.randrange(8)
            elif kind == "cut":
                del content[place:place + rng.randint(1, 9)]
            elif kind == "insert":
                content[place:place] = rng.randbytes(rng.randint(1, 9))
            else:
                content[place], content[place - 1] = content[place - 1], content[place]
                if content == image[:-1]:
                    continue
            before = rig.model.damaged
            await rig.feed(bytes(content) + ZERO)
            assert rig.model.damaged > before, (kind, place)
    for _ in range(20):
        await rig.feed(rng.randbytes(rng.randint(1, 40)) + ZERO)
    await rig.cycles(60)
    await rig.receiver.silent(60)
    await rig.ask(STATUS, 2)
    assert not rig.memory.writes
    rig.same_memory()


@test
async def checks_lengths(dut):
    """Frames whose CRC is right and whose length is not; the longest that fits; longer ones; hardly any at all."""
    rig = await Rig(dut).start()

    def raw(frame):
        """What `Frame.pack` would refuse."""
        import zlib
        head = bytes([frame.version, frame.sequence, frame.operation, 0]) + frame.address.to_bytes(6, "little") \
            + frame.count.to_bytes(2, "little") + frame.payload
        return head + zlib.crc32(head).to_bytes(4, "little")

    wrong = [raw(Frame(WRITE, 1, 0, count, bytes(size))) for count, size in (
        (8, 7), (8, 9), (8, 0), (0, 8), (PAYLOAD, PAYLOAD - 1), (PAYLOAD, PAYLOAD + 1), (PAYLOAD + 1, PAYLOAD + 1),
        (PAYLOAD + 8, PAYLOAD + 8), (PAYLOAD + 1, PAYLOAD + 8), (PAYLOAD + 1, PAYLOAD + 2), (3 * PAYLOAD, 3 * PAYLOAD),
        (65535, 8))]
    wrong += [raw(Frame(READ, 1, 0, 8, b"x")), raw(Frame(STATUS, 1, 0, 0, bytes(8)))]
    wrong += [raw(Frame(STATUS, 1))[:size] for size in (1, 4, 11, 12, 15)] + [b""]
    for content in wrong:
        before = rig.model.damaged
        await rig.feed(stuffed(content) + ZERO)
        assert rig.model.damaged == before + 1
    await rig.feed(ZERO * 5)                                # nothing
    await rig.ask(STATUS, 2)
    await rig.ask(WRITE, 3, count=PAYLOAD)
    rig.same_memory()


@test
async def late_frames(dut):
    """What arrives while a request is at work is dropped to its end, however its bytes lie, and counted."""
    rig = await Rig(dut, latency=200).start()
    for spot in range(4):
        first = rig.request(READ, 10 + spot, count=4 * BEAT)
        second = rig.request(WRITE_REGISTER, 20 + spot)
        image = second.pack()
        await rig.sender.send(first.pack() + image[:spot * 8])
        await rig.answered(first)
        await rig.sender.send(image[spot * 8:])
        # At first all of it came when the answer was out.
        if spot:
            rig.model.late += 1
        else:
            await rig.answered(second)
        await rig.ask(STATUS, 30 + spot)
    # The whole frame while the first is at work, twice.
    first, second = rig.request(READ, 40, count=4 * BEAT), rig.request(WRITE_REGISTER, 41)
    await rig.sender.send(first.pack() + second.pack() + ZERO + second.pack())
    await rig.answered(first)
    rig.model.late += 2
    await rig.ask(STATUS, 42)
    rig.same_memory()


@test
async def lost_bytes(dut):
    """A frame that lost bytes is dropped, even if what is left of it is right."""
    rig = await Rig(dut).start()

    async def lose():
        dut.lost.value = 1
        await RisingEdge(dut.aclk)
        dut.lost.value = 0
        await RisingEdge(dut.aclk)

    image = rig.request(WRITE_REGISTER, 1).pack()
    for place in (0, 1, 7, len(image) - 1):
        await rig.sender.send(image[:place])
        await lose()
        await rig.sender.send(image[place:])
        rig.model.damaged += 1
        rig.model.line += 1
        await rig.receiver.silent(100)
        await rig.ask(STATUS, 10 + place)
    await rig.exchange(Frame.unpack(image[:-1]))
    rig.same_memory()


@test
async def bus_errors(dut):
    """Errors are told; the first of several; further bursts are not begun; the next request is right again."""
    rig = await Rig(dut).start()
    memory, registers = rig.memory, rig.registers
    count = min(PAYLOAD, 32 * BEAT)
    for sequence, (response, code) in enumerate(((SLVERR, Code.SLVERR), (DECERR, Code.DECERR)), 1):
        for base, operation in ((0, READ), (100, WRITE)):
            # In the second burst of up to three.
            memory.inject(response, 20 * BEAT, 20 * BEAT)
            bursts = len(memory.reads) + len(memory.writes)
            frame = rig.request(operation, base + 2 * sequence, address=8 * BEAT, count=count)
            rig.model.faults[operation] = code
            await rig.exchange(frame)
            assert len(memory.reads) + len(memory.writes) == bursts + 2
            if operation == WRITE:      # the first burst was written
                rig.model.memory[8 * BEAT:16 * BEAT] = frame.payload[:8 * BEAT]
            memory.heal()
            del rig.model.faults[operation]
            await rig.ask(operation, base + 2 * sequence + 1, address=8 * BEAT, count=count)
        for base, operation in ((200, READ_REGISTER), (210, WRITE_REGISTER)):
            registers.answers[0x40] = Response(response)
            rig.model.faults[operation] = code
            await rig.ask(operation, base + 2 * sequence, address=0x40)
            del registers.answers[0x40], rig.model.faults[operation]
            await rig.ask(operation, base + 2 * sequence + 1, address=0x40)
    rig.same_memory()


async def silence_told(dut, operation, at):
    """Memory falls silent: TIMEOUT, BUSY while it owes answers, and when it speaks again nothing more is written."""
    rig = await Rig(dut, latency=8).start()
    memory, count = rig.memory, min(PAYLOAD, 24 * BEAT)
    await rig.ask(STATUS, 1)
    frame = rig.request(operation, 2, address=0x800, count=count)
    await rig.sender.send(frame.pack())
    memory.silence(at)
    code = Frame.unpack((await rig.receiver.until(DELIMITER))[:-1]).code
    assert code == Code.TIMEOUT
    rig.model.last = 2, (Code.TIMEOUT, b"")
    for sequence, other in ((3, READ), (4, WRITE)):
        await rig.sender.send(rig.request(other, sequence, address=0, count=BEAT, **(
            {"payload": b"!" * BEAT} if other == WRITE else {})).pack())
        assert Frame.unpack((await rig.receiver.until(DELIMITER))[:-1]).code == Code.BUSY
    await rig.ask(READ_REGISTER, 5)                         # the registers are still there
    memory.silence(None)
    await rig.cycles(200)
    written = bytes(memory.memory)
    for index, (found, before) in enumerate(zip(written, rig.model.memory)):
        inside = 0x800 <= index < 0x800 + count
        assert found == before or operation == WRITE and inside and found == frame.payload[index - 0x800]
    rig.model.memory[:] = written
    for sequence, other in ((6, READ), (7, WRITE), (8, READ)):
        await rig.ask(other, sequence, address=0x800, count=count // 4)
    await rig.ask(STATUS, 9)
    rig.same_memory()


for _operation in (READ, WRITE):
    for _at in (0, 5, 12, 30):
        @test
        async def silence(dut, operation=_operation, at=_at):
            await silence_told(dut, operation, at)
        silence.name = silence.__qualname__ = f"silence_{_operation.name.lower()}_{_at}"
        globals()[silence.name] = silence
del silence


@test
async def register_silence(dut):
    """The same of registers; and a reset, which ends it."""
    rig = await Rig(dut).start()
    for sequence, operation in ((1, READ_REGISTER), (11, WRITE_REGISTER)):
        rig.registers.mute = True
        began = cycle()
        await rig.sender.send(rig.request(operation, sequence, address=0x40).pack())
        assert Frame.unpack((await rig.receiver.until(DELIMITER))[:-1]).code == Code.TIMEOUT
        assert TIMEOUT <= cycle() - began < TIMEOUT + 600
        await rig.sender.send(rig.request(operation, sequence + 1, address=0x40).pack())
        assert Frame.unpack((await rig.receiver.until(DELIMITER))[:-1]).code == Code.BUSY
        await rig.sender.send(rig.request(STATUS, sequence + 2).pack())
        assert Frame.unpack((await rig.receiver.until(DELIMITER))[:-1]).payload[0] == 2
        cycles = []

        async def count(cycles=cycles):
            while True:
                await RisingEdge(dut.aclk)
                if int(dut.reset.value):
                    cycles.append(cycle())
        watch = cocotb.start_soon(count())
        await rig.ask(Operation.RESET, sequence + 3)
        rig.registers.resets()
        rig.registers.mute = False
        await rig.ask(Operation.RESET, sequence + 3)        # once
        watch.cancel()
        assert len(cycles) == RESET_CYCLES == cycles[-1] - cycles[0] + 1
        await rig.ask(operation, sequence + 4, address=0x40)
        await rig.ask(STATUS, sequence + 5)
    rig.same_memory()


@test
async def reset_ends_memory_silence(dut):
    rig = await Rig(dut).start()
    for sequence, operation in ((1, READ), (11, WRITE)):
        rig.memory.silence(0)
        await rig.sender.send(rig.request(operation, sequence, address=0, count=BEAT).pack())
        assert Frame.unpack((await rig.receiver.until(DELIMITER))[:-1]).code == Code.TIMEOUT
        await rig.ask(Operation.RESET, sequence + 1)
        rig.memory.silence(None)
        await rig.ask(operation, sequence + 2)
        await rig.ask(STATUS, sequence + 3)
    rig.same_memory()


@test
async def speed(dut):
    """Cycles from a request's delimiter to its answer's first byte and to its last."""
    rig = await Rig(dut, latency=1).start()
    sent, came = rig.sender._source.cycles, rig.receiver._sink.cycles
    await rig.ask(STATUS, 1)
    dut._log.info(f"status: first byte after {came[0] - sent[-1]}, last after {came[-1] - sent[-1]}")
    await rig.ask(READ, 2, count=PAYLOAD)
    begin = sent[-1]
    answer = [moment for moment in came if moment > begin]
    first = answer[0] - begin
    dut._log.info(f"{PAYLOAD} bytes read: first byte after {first}, last after {answer[-1] - begin}")
    block = min(COBS_BLOCK, HEADER_BYTES + PAYLOAD)
    assert first < 12 * block + 3 * PAYLOAD // BEAT + 60
    await rig.ask(WRITE, 3, count=PAYLOAD)
    begin = sent[-1]
    answer = [moment for moment in came if moment > begin]
    dut._log.info(f"{PAYLOAD} bytes written: first byte after {answer[0] - begin}, last after {answer[-1] - begin}")
    assert answer[0] - begin < 12 * 17 + 4 * PAYLOAD // BEAT + 60
