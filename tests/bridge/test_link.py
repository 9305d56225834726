"""The host's link against the model of a bridge, over pseudo-terminals, with bytes lost and garbled on the way."""

import os
import random

import pytest
from olivine.bridge.frames import IDENTITY, VERSION, Code, Operation
from olivine_host.board.frame import BadFrame, Frame, Splitter, line_bytes, stuffed, unstuffed
from olivine_host.board.link import Link, Lost, NoAnswer, Noise, NoPort, Refused, WrongDevice

from tb.bridge.model import BridgeModel
from tests.bridge.device import Line, device

READ, WRITE = Operation.READ_MEMORY, Operation.WRITE_MEMORY
READ_REGISTER, WRITE_REGISTER = Operation.READ_REGISTER, Operation.WRITE_REGISTER


def model(**options):
    made = BridgeModel(bytearray(1 << 14), 14, **options)
    made.registers = {0x40: 1, 0x44: 2}
    return made


# --- Frames -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("raw, coded", [
    (b"", "01"), (b"\0", "0101"), (b"\0\0", "010101"), (b"\x11\x22\0\x33", "031122" "0233"),
    (b"\x11\x22\x33\x44", "0511223344"), (b"\x11\0\0\0", "0211" "010101"),
    (bytes(range(1, 255)), "ff" + bytes(range(1, 255)).hex()),
    (bytes(range(255)), "01ff" + bytes(range(1, 255)).hex()),
    (bytes(range(1, 256)), "ff" + bytes(range(1, 255)).hex() + "02ff"),
    (bytes(range(2, 256)) + b"\0", "ff" + bytes(range(2, 256)).hex() + "0101"),
])
def test_stuffing(raw, coded):
    """The examples of the paper and of Wikipedia's article."""
    assert stuffed(raw).hex() == coded
    assert unstuffed(bytes.fromhex(coded)) == raw


def test_frame_bytes():
    """One frame written out, so that the protocol does not change unnoticed."""
    frame = Frame(WRITE_REGISTER, 7, 0x40, 4, b"\x78\x56\x34\x12")
    assert frame.pack().hex() == "04010713024001010101020409785634124161dae600"


@pytest.mark.parametrize("content", [b"", b"\x01", b"\x05abc", b"\x03\x00\x01", stuffed(bytes(15)), stuffed(bytes(20))])
def test_no_frame(content):
    with pytest.raises(BadFrame):
        Frame.unpack(content)


def test_splitter():
    rng = random.Random(1)
    frames = [Frame(WRITE, n, 8 * n, 8 * n, rng.randbytes(8 * n)) for n in range(1, 20)]
    content = b"\0\0junk\0" + b"".join(frame.pack() for frame in frames)
    splitter, found = Splitter(), []
    while content:
        size = rng.randint(1, 50)
        found += splitter.feed(content[:size])
        content = content[size:]
    assert found == frames and splitter.damaged == 1


@pytest.mark.parametrize("size", [0, 1, 253, 254, 255, 1024, 4096])
def test_line_bytes(size):
    """An upper bound, and no loose one."""
    longest = 1 + len(Frame(WRITE, 0xff, 0xffff_ffff_ffff, size, b"x" * size).pack())
    assert longest <= line_bytes(size) <= longest + 1


# --- A good line --------------------------------------------------------------------------------------

def test_requests():
    with device(made := model()) as terminal, Link(terminal.port, patience=5) as link:
        assert (link.identity.max_payload, link.identity.bus_bytes, link.identity.addr_width) == (4096, 8, 14)
        content = bytes(range(256)) * 16
        assert link.request(WRITE, 0x1000, 4096, content) == b""
        assert link.request(READ, 0x1000, 4096) == content
        assert link.request(WRITE_REGISTER, 0x40, 4, b"\1\2\3\4") == b""
        assert link.request(READ_REGISTER, 0x40, 4) == b"\1\2\3\4"
        made.irq, made.board = 1, 3
        status = link.status()
        assert (status.irq, status.memory_ready, status.board) == (1, True, 3)
        link.reset()
        assert made.resets == 1 and link.counters.retries == link.counters.stale == link.counters.damaged == 0


@pytest.mark.parametrize("operation, fields, code", [
    (READ_REGISTER, (0x80, 4), Code.DECERR), (READ_REGISTER, (2, 4), Code.BAD_ADDRESS), (READ, (0, 4), Code.BAD_COUNT),
    (READ, (1 << 14, 8), Code.BAD_ADDRESS), (WRITE, (8, 7, b"1234567"), Code.BAD_COUNT)])
def test_refused(operation, fields, code):
    with device(model()) as terminal, Link(terminal.port, patience=5) as link:
        with pytest.raises(Refused, match=f"the device refuses {operation.name} at {fields[0]:#x}: ") as caught:
            link.request(operation, *fields)
        assert caught.value.code is code
        assert link.request(READ_REGISTER, 0x40, 4) == b"\1\0\0\0"


# --- A bad line ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed, harm", list(enumerate([
    {"loss": 0.002}, {"flip": 0.002}, {"junk": 0.002}, {"twice": 0.5}, {"loss": 0.001, "flip": 0.001, "junk": 0.001,
                                                                       "twice": 0.1}])), ids=str)
def test_bad_line(seed, harm):
    """Every transfer is right, and each write to a register happens once."""
    rng, made = random.Random(seed), model()
    there, back = Line(seed, **harm), Line(seed + 100, **harm)
    expected, written = bytearray(1 << 14), []
    with device(made, there, back) as terminal, Link(terminal.port, patience=0.05, tries=40) as link:
        for _ in range(25):
            count = 8 * rng.randint(1, 48)
            address = 8 * rng.randrange((len(expected) - count) // 8)
            content = rng.randbytes(count)
            link.request(WRITE, address, count, content)
            expected[address:address + count] = content
            address = 8 * rng.randrange((len(expected) - count) // 8)
            assert link.request(READ, address, count) == expected[address:address + count]
            value = rng.randbytes(4)
            link.request(WRITE_REGISTER, 0x40, 4, value)
            written.append(int.from_bytes(value, "little"))
            assert link.request(READ_REGISTER, 0x40, 4) == value
    assert made.memory == expected
    assert [value for operation, _, value in made.done if operation is WRITE_REGISTER] == written
    assert there.harmed + back.harmed > 0 or "twice" in harm


@pytest.mark.parametrize("harm", [{"loss": 0.3}, {"flip": 0.3}], ids=str)
def test_hopeless_line(harm):
    with device(model(), Line(1, **harm)) as terminal, \
            pytest.raises(NoAnswer, match="no answer on .* to 3 times IDENTIFY"):
        Link(terminal.port, patience=0.03, tries=3)


# --- What is not a bridge -----------------------------------------------------------------------------

class Echo:
    """Sends back what it gets, or something else."""

    def __init__(self, makes=lambda content: content):
        self.feed = makes


def test_no_port(tmp_path):
    with pytest.raises(NoPort, match="nothing-there cannot be opened at 3000000 baud"):
        Link(str(tmp_path / "nothing-there"))


def test_silence():
    with device(Echo(lambda content: b"")) as terminal, pytest.raises(NoAnswer, match="is the board on"):
        Link(terminal.port, patience=0.02, tries=2)


@pytest.mark.parametrize("makes", [lambda content: content, lambda content: b"\x55\xaa" * 50,
                                   lambda content: b"\0\x81\0" * 20], ids=["echo", "noise", "frames"])
def test_noise(makes):
    with device(Echo(makes)) as terminal, pytest.raises(Noise, match="is 115200 the board's baud rate"):
        Link(terminal.port, 115200, patience=0.02, tries=2)


def test_other_version():
    class Newer(BridgeModel):
        def answer(self, frame):
            return Frame(frame.operation | 0x80, frame.sequence, frame.address, 0, b"", Code.BAD_VERSION, 9).pack()
    with device(Newer(bytearray(64))) as terminal, \
            pytest.raises(WrongDevice, match=f"speaks version 9 of the protocol, this program speaks {VERSION}"):
        Link(terminal.port, patience=5)


def test_other_device():
    class Other(BridgeModel):
        def answer(self, frame):
            return Frame(frame.operation | 0x80, frame.sequence, frame.address, 8, bytes(IDENTITY.size // 8)).pack()
    with device(Other(bytearray(64))) as terminal, pytest.raises(WrongDevice, match="no bridge of Olivine"):
        Link(terminal.port, patience=5)


def test_lost():
    with device(model()) as terminal, Link(terminal.port, patience=5) as link:
        terminal.close()
        with pytest.raises(Lost, match="is gone"):
            link.request(READ, 0, 8)


def test_taken():
    with device(model()) as terminal, Link(terminal.port, patience=5):
        with pytest.raises(NoPort, match="cannot be opened"):
            Link(terminal.port)


# --- Hosts that come and go ---------------------------------------------------------------------------

@pytest.mark.parametrize("cut", [1, 5, 40, 4000])
def test_killed_host(cut):
    """A host ends in the middle of a frame: the next one just connects, and nothing was written."""
    made = model()
    with device(made) as terminal:
        with Link(terminal.port, patience=5) as link:
            image = Frame(WRITE, 1, 0, 4096, b"\xee" * 4096).pack()
            link._serial.write(image[:cut])
        with Link(terminal.port, patience=1) as link:
            assert link.request(READ, 0, 4096) == bytes(4096)
            assert link.counters.retries == 0
    assert made.damaged == 1 and len(made.done) == 1


def test_answers_to_another():
    """Answers that an earlier host did not wait for are told from one's own, whatever their number."""
    made = model()
    with device(made) as terminal:
        held = os.open(terminal.port, os.O_RDWR | os.O_NOCTTY)
        for sequence in range(256):
            os.write(held, Frame(READ_REGISTER, sequence, 0x40, 4).pack())
            made.registers[0x40] = sequence
        os.close(held)
        with Link(terminal.port, patience=5) as link:
            made.registers[0x40] = 0x12345678
            assert link.request(READ_REGISTER, 0x40, 4) == b"\x78\x56\x34\x12"


def test_late_answer_to_another():
    """The same, of one that comes behind the opening and happens to have the right number: its address tells."""
    class Late(BridgeModel):
        def answer(self, frame):
            late = Frame(frame.operation | 0x80, frame.sequence, frame.address ^ 1, 8, bytes(8)).pack()
            return (late if frame.operation == Operation.IDENTIFY else b"") + super().answer(frame)
    with device(Late(bytearray(64))) as terminal, Link(terminal.port, patience=5) as link:
        assert link.identity.bus_bytes == 8 and link.counters.stale == 1
