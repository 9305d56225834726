"""A link to a board: requests and their answers over a serial port, whatever the line does to them."""

import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

import serial
from olivine.bridge.frames import ANSWER, DELIMITER, IDENTIFIER, VERSION, Code, Operation

from .frame import Frame, Identity, Splitter, Status, line_bytes

__all__ = ["LinkError", "NoPort", "NoAnswer", "Noise", "Lost", "WrongDevice", "Refused", "Counters", "Link"]


class LinkError(RuntimeError):
    """Something is wrong with the link; the subclass and the message say what."""


class NoPort(LinkError):
    """The port cannot be opened."""


class NoAnswer(LinkError):
    """Nothing comes back."""


class Noise(LinkError):
    """Something comes back, but no frame: another baud rate, another device, a bad line."""


class Lost(LinkError):
    """The port was open, and went away."""


class WrongDevice(LinkError):
    """A bridge of another version, or something else that speaks in such frames."""


class Refused(LinkError):
    """The device answered with a code.

    Attributes
    ----------
    code : Code or int
    """

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


_MEANING = {
    Code.BAD_VERSION: "it speaks another version of the protocol",
    Code.BAD_OPERATION: "it does not know the operation",
    Code.BAD_ADDRESS: "the address is outside, or not aligned",
    Code.BAD_COUNT: "it cannot do so many bytes at once",
    Code.SLVERR: "the bus answered SLVERR",
    Code.DECERR: "the bus answered DECERR",
    Code.TIMEOUT: "the bus is silent",
    Code.BUSY: "the bus still owes answers to an earlier access; a reset ends that",
}


@dataclass
class Counters:
    """What happened on a link. ``stale``: answers to earlier questions; ``damaged``: frames that were none."""

    requests: int = 0
    retries: int = 0
    stale: int = 0
    damaged: int = 0


class Link:
    """Asks a device and waits for its answer, again and again if need be.

    Opening it asks who is there, with a random number that comes back: whatever an earlier host left on the way is
    told from answers to this one, and the device begins anew to count requests.

    Parameters
    ----------
    port : str
        A serial port, such as ``/dev/ttyUSB0``, or a pseudo-terminal.
    baud : int
    patience : float
        Seconds that the device may take for an answer, beside the time on the line.
    tries : int
        Times that a request is sent; each waits twice as long as the one before, up to eight times ``patience``.

    Attributes
    ----------
    identity : Identity
    counters : Counters

    Raises
    ------
    LinkError
        `NoPort`, `NoAnswer`, `Noise`, `WrongDevice`, `Lost`; `Refused` from requests.
    """

    def __init__(self, port, baud=3_000_000, *, patience=0.25, tries=8):
        self.port, self.baud, self.patience, self.tries = port, baud, patience, tries
        self.counters = Counters()
        self._splitter = Splitter()
        self._sequence = os.urandom(1)[0]
        try:
            self._serial = serial.Serial(port, baud, timeout=0, write_timeout=None, exclusive=True)
        except (OSError, ValueError) as error:
            raise NoPort(f"{port} cannot be opened at {baud} baud: {error}") from None
        # Most USB adapters hold received bytes back for 16 ms otherwise.
        with suppress(OSError, ValueError, AttributeError, NotImplementedError):
            self._serial.set_low_latency_mode(True)
        try:
            self._serial.reset_input_buffer()
            self.identity = self._identify()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self._serial.close()

    def _identify(self):
        nonce = int.from_bytes(os.urandom(6), "little")
        answer = self._ask(Frame(Operation.IDENTIFY, address=nonce))
        if answer.version != VERSION or answer.code == Code.BAD_VERSION:
            raise WrongDevice(f"the device on {self.port} speaks version {answer.version} of the protocol, this "
                              f"program speaks {VERSION}")
        identity = Identity.unpack(self._checked(answer).payload)
        if identity.identifier != IDENTIFIER:
            raise WrongDevice(f"the device on {self.port} is no bridge of Olivine: it calls itself "
                              f"{identity.identifier:#010x}")
        return identity

    # Requests

    def status(self):
        return Status.unpack(self.request(Operation.STATUS))

    def reset(self):
        """Reset the core and what shares its buses."""
        self.request(Operation.RESET)

    def request(self, operation, address=0, count=0, payload=b""):
        """Payload of the answer.

        Raises
        ------
        LinkError
        """
        return self._checked(self._ask(Frame(operation, address=address, count=count, payload=payload))).payload

    def _checked(self, answer):
        if answer.code != Code.OK:
            name = Operation(answer.operation & ~ANSWER).name
            code = Code(answer.code) if answer.code in set(Code) else answer.code
            meaning = _MEANING.get(code, f"code {code}")
            raise Refused(f"the device refuses {name} at {answer.address:#x}: {meaning}", code)
        return answer

    def _ask(self, request):
        """The answer to a request, which gets a sequence number."""
        self._sequence = self._sequence + 1 & 0xff
        request = Frame(**{**asdict(request), "sequence": self._sequence})
        self.counters.requests += 1
        # A zero byte first ends whatever garbage the device believes to be in.
        image = bytes([DELIMITER]) + request.pack()
        answer_bytes = 0 if request.carries else request.count
        on_line = 10 / self.baud * (len(image) + line_bytes(max(answer_bytes, 16)))
        damaged, received = self._splitter.damaged, 0
        for attempt in range(self.tries):
            self.counters.retries += attempt > 0
            try:
                self._serial.write(image)
                self._serial.timeout = wait = on_line + self.patience * min(1 << attempt, 8)
                deadline = time.monotonic() + wait
                while time.monotonic() < deadline:
                    content = self._serial.read(1)
                    content += self._serial.read(self._serial.in_waiting) if content else b""
                    received += len(content)
                    for frame in self._splitter.feed(content):
                        if self._belongs(frame, request):
                            return frame
                        self.counters.stale += 1
            except (OSError, TypeError) as error:
                # A port that vanishes raises the one or the other, as the moment will have it.
                raise Lost(f"{self.port} is gone: {error}") from None
            finally:
                self.counters.damaged = self._splitter.damaged
        self._give_up(request, received, self._splitter.damaged - damaged)

    @staticmethod
    def _belongs(answer, request):
        return (answer.operation == request.operation | ANSWER and answer.sequence == request.sequence
                and answer.address == request.address)

    def _give_up(self, request, received, damaged):
        what = f"{self.tries} times {Operation(request.operation).name}"
        if not received:
            raise NoAnswer(f"no answer on {self.port} to {what}: is the board on, its bitstream loaded, and "
                           f"{self.baud} its baud rate?")
        raise Noise(f"no right answer on {self.port} to {what}, but {received} bytes and {damaged} damaged frames: is "
                    f"{self.baud} the board's baud rate, and the line good?")
