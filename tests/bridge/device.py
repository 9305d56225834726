"""A device on a pseudo-terminal: the model of a bridge behind a line that loses and garbles bytes."""

import random
import threading
from contextlib import contextmanager

from olivine_host.board.pty import PseudoTerminal

__all__ = ["Line", "device"]


class Line:
    """What becomes of bytes on their way.

    Parameters
    ----------
    seed : int
    loss, flip, junk, twice : float
        Of a byte, the chance to be lost, to have a bit flipped, to have junk in front; of what is sent at once, the
        chance to come twice.
    """

    def __init__(self, seed=0, *, loss=0.0, flip=0.0, junk=0.0, twice=0.0):
        self._rng = random.Random(f"line {seed}")
        self.loss, self.flip, self.junk, self.twice = loss, flip, junk, twice
        self.harmed = 0

    def __call__(self, content):
        rng, passed = self._rng, bytearray()
        for byte in content:
            if rng.random() < self.junk:
                passed += rng.randbytes(rng.randint(1, 5))
            if rng.random() < self.loss:
                continue
            if rng.random() < self.flip:
                byte ^= 1 << rng.randrange(8)
            passed.append(byte)
        self.harmed += passed != content
        return bytes(passed) * (2 if rng.random() < self.twice else 1)


@contextmanager
def device(model, there=None, back=None):
    """Serve a model in a thread; gives the pseudo-terminal.

    Parameters
    ----------
    model : object with ``feed``
    there, back : callable or None
        What becomes of requests' bytes and of answers'.
    """
    there, back = there or bytes, back or bytes
    over = threading.Event()

    def serve():
        while not over.is_set():
            try:
                content = terminal.read(0.02)
                if content and (answer := model.feed(there(content))):
                    terminal.write(back(answer))
            except OSError:
                return      # it was closed on purpose

    terminal = PseudoTerminal()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield terminal
    finally:
        over.set()
        thread.join()
        terminal.close()
