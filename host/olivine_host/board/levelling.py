"""Where reads of DDR3 memory are sampled: found by the host, on each board and after each reset.

The strobes of a byte lane come back as much later as its lines are long. Two settings of each lane meet them: the time
at which the PHY begins to look for them (eight delays, a quarter of the memory's clock apart), and the bit at which a
word of four begins (four slips). Writes need none of that. So a pattern is written once, and read with every setting:
a lane has it right if its strobes came while they were looked for, and its bytes are the pattern's. Of the delays that
are right with one slip, the middle of the longest run is farthest from what is wrong.
"""

import random
import time
from dataclasses import dataclass

from olivine.board.ddr3_registers import INITIALISED, LANES, LEVELLED, STATE, Phy, offset_of
from olivine.bridge.frames import REGISTER_BYTES, Operation

from .link import LinkError

__all__ = ["DELAYS", "SLIPS", "INIT_SECONDS", "LevellingError", "Window", "is_due", "level", "longest_run"]

DELAYS, SLIPS = 8, 4
"""Settings of a byte lane."""

PATTERN_BYTES = 256
"""At most, from address 0 on; what lies there is lost."""

INIT_SECONDS = 5.0
"""That the chip's initialisation may take: a simulated board is slow."""


class LevellingError(LinkError):
    """Memory cannot be used: the message says which byte lane is never read rightly, or that the chip is not there."""


@dataclass(frozen=True)
class Window:
    """What was found for a byte lane.

    Parameters
    ----------
    lane, slip : int
    first, last : int
        Delays between which, both included, all are right with that slip.
    """

    lane: int
    slip: int
    first: int
    last: int

    def __str__(self):
        return f"byte lane {self.lane}: slip {self.slip}, delays {self.first} to {self.last}, {self.delay} is set"

    @property
    def delay(self):
        """The one that is set."""
        return (self.first + self.last) // 2


def is_due(status):
    """Whether a board's memory waits for its host to level it."""
    return status.levels and not status.memory_ready


def level(link, tried=None, *, init_seconds=INIT_SECONDS):
    """Find and set each lane's window, and tell the board that memory is ready.

    Parameters
    ----------
    link : Link
        To a board whose `Status.levels`.
    tried : callable or None
        Called with (settings tried, settings altogether).
    init_seconds : float
        That the chip's initialisation may still take.

    Returns
    -------
    list of Window
        By byte lane.

    Raises
    ------
    LevellingError, LinkError
    """
    lanes = _await_chip(link, init_seconds)
    beat = link.identity.bus_bytes
    size = min(PATTERN_BYTES, link.identity.max_payload) // beat * beat
    pattern = random.Random("levelling").randbytes(size)
    link.request(Operation.WRITE_MEMORY, 0, size, pattern)
    everywhere = (1 << lanes) - 1
    right = [[set() for _ in range(SLIPS)] for _ in range(lanes)]
    for slip in range(SLIPS):
        _set(link, everywhere, 0, slip)
        for delay in range(DELAYS):
            if delay:
                _on(link, everywhere, [Phy.RDLY_DQ_INC])
            for lane in _lanes_right(link, pattern, lanes):
                right[lane][slip].add(delay)
            if tried:
                tried(slip * DELAYS + delay + 1, SLIPS * DELAYS)
    windows = [_best(lane, by_slip) for lane, by_slip in enumerate(right)]
    for window in windows:
        _set(link, 1 << window.lane, window.delay, window.slip)
    if len(still := _lanes_right(link, pattern, lanes)) < lanes:
        raise LevellingError(f"byte lanes {sorted(set(range(lanes)) - set(still))} are read wrongly where they were "
                             "read rightly before: the memory's supply, its clock, or a bad line")
    _write(link, STATE, LEVELLED)
    return windows


def _best(lane, by_slip):
    runs = [(longest_run(delays), -slip) for slip, delays in enumerate(by_slip)]
    (first, last), slip = max(runs, key=lambda run: (run[0][1] - run[0][0], run[1]))
    if last < first:
        raise LevellingError(f"byte lane {lane} of the memory is read wrongly with all of {DELAYS} delays and {SLIPS} "
                             "slips: is its chip soldered and powered, and its clock what the bitstream was made for?")
    return Window(lane, -slip, first, last)


def longest_run(delays):
    """First and last of the longest run of successive numbers, the earliest of several; (0, -1) if there is none."""
    best = (0, -1)
    for first in sorted(delays):
        last = first
        while last + 1 in delays:
            last += 1
        if last - first > best[1] - best[0]:
            best = (first, last)
    return best


def _await_chip(link, seconds):
    """The number of byte lanes, once the chip is initialised."""
    deadline = time.monotonic() + seconds
    while not (state := _read(link, STATE)) & INITIALISED:
        if time.monotonic() > deadline:
            raise LevellingError(f"the memory is not initialised after {seconds:g} seconds: its clock does not run")
        time.sleep(0.01)
    return state >> LANES & 0xff


def _lanes_right(link, pattern, lanes):
    """Byte lanes that read the pattern, and whose strobes came in time."""
    _write(link, offset_of(Phy.BURSTDET_CLR), 1)
    found = link.request(Operation.READ_MEMORY, 0, len(pattern))
    seen = _read(link, offset_of(Phy.BURSTDET_SEEN))
    return [lane for lane in range(lanes) if seen >> lane & 1 and found[lane::lanes] == pattern[lane::lanes]]


def _set(link, lanes, delay, slip):
    _on(link, lanes, [Phy.RDLY_DQ_RST, *[Phy.RDLY_DQ_INC] * delay,
                      Phy.RDLY_DQ_BITSLIP_RST, *[Phy.RDLY_DQ_BITSLIP] * slip])


def _on(link, lanes, registers):
    """Writes that hold for these lanes, a bit each, which rest meanwhile."""
    _write(link, offset_of(Phy.DLY_SEL), lanes)
    for register in registers:
        _write(link, offset_of(register), 1)
    _write(link, offset_of(Phy.DLY_SEL), 0)


def _write(link, offset, value):
    link.request(Operation.WRITE_REGISTER, offset, REGISTER_BYTES, value.to_bytes(REGISTER_BYTES, "little"))


def _read(link, offset):
    return int.from_bytes(link.request(Operation.READ_REGISTER, offset, REGISTER_BYTES), "little")
