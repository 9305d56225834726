"""The whole bridge over its line: baud rates that are off, jitter, noise, and how fast it is."""

import cocotb
from olivine.bridge.frames import DELIMITER, Operation
from olivine_host.board.frame import Frame

from tb.bridge.rig import BEAT, DIVISOR, PAYLOAD, Rig
from tb.streams import PERIOD

test = cocotb.test(timeout_time=30, timeout_unit="ms")


async def speaks(dut, **line):
    rig = await Rig(dut, **line).start()
    await rig.ask(Operation.IDENTIFY, 0, address=0xffff_ffff_ffff)
    await rig.ask(Operation.WRITE_REGISTER, 1)
    await rig.ask(Operation.WRITE_MEMORY, 2, count=4 * BEAT)
    await rig.ask(Operation.READ_MEMORY, 3, count=4 * BEAT)
    rig.same_memory()
    return rig


@test
async def slow_host(dut):
    """2 % slower, its edges late by up to a twentieth of a bit."""
    await speaks(dut, error=0.02, jitter=0.05)


@test
async def fast_host(dut):
    await speaks(dut, error=-0.02, jitter=0.05)


@test
async def line_errors(dut):
    """A break and a framing error in frames and between them; the next request is right."""
    rig = await Rig(dut).start()
    frame = rig.request(Operation.WRITE_REGISTER, 1)
    image = frame.pack()
    await rig.sender.send(image[:9])
    await rig.sender.level(0, 25)
    await rig.sender.level(1, 2)
    await rig.sender.send(image[9:])
    await rig.sender.level(0, 30)
    await rig.sender.level(1, 20)
    await rig.sender.send(bytes([DELIMITER]))
    rig.model.damaged, rig.model.line = 2, 2
    await rig.receiver.silent(40 * DIVISOR)
    await rig.ask(Operation.STATUS, 2)
    await rig.exchange(frame)
    rig.same_memory()


@test
async def speed(dut):
    """Within an answer the line rests no longer than it takes to gather the bytes that follow."""
    rig = await Rig(dut).start()
    frame = rig.request(Operation.READ_MEMORY, 1, count=PAYLOAD)
    await rig.exchange(frame)
    starts = [round(moment / PERIOD) for _, moment in rig.receiver.received]
    byte = 10 * DIVISOR
    assert len(starts) == len(Frame(frame.operation | 0x80, 1, 0, PAYLOAD, bytes(PAYLOAD)).pack())
    rests = starts[-1] - starts[0] - byte * (len(starts) - 1)
    dut._log.info(f"{PAYLOAD} bytes read: the line rests {rests} cycles of {starts[-1] - starts[0]}")
    assert 0 <= rests <= 12 * len(starts)
