"""Streams: queues, register slices, changes of word length, arbitration, checked connections.

A stream offers a payload with ``valid`` and the other side takes it with ``ready``. ``valid`` never waits
for ``ready``, and an offered payload holds until it is taken.
"""

from .arbiter import Arbiter, granted
from .connect import connect, same_shape
from .fork import fork
from .gearbox import Gearbox, word
from .later import read_later
from .queue import Queue
from .serial import SerialGearbox
from .skid import Skid
from .spare import Spare

__all__ = ["Arbiter", "Gearbox", "Queue", "SerialGearbox", "Skid", "Spare", "connect", "fork", "granted",
           "read_later", "same_shape", "word"]
