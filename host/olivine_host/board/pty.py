"""A pseudo-terminal in the place of a serial port, for devices that are programs."""

import os
import select
import tty

__all__ = ["PseudoTerminal"]


class PseudoTerminal:
    """One end of a raw pseudo-terminal; a `Link` opens the other by its name.

    Attributes
    ----------
    port : str
        Name of the host's end.
    """

    def __init__(self):
        self._device, self._host = self._ends = os.openpty()
        # Bytes as they are. The host's end stays open here too, so that hosts may come and go.
        tty.setraw(self._host)
        os.set_blocking(self._device, False)
        self.port = os.ttyname(self._host)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Both ends are gone: a host that waits is told. A second time does nothing."""
        ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)

    def fileno(self):
        """Descriptor of the device's end."""
        return self._device

    def read(self, timeout=0.0):
        """What the host sent, after up to ``timeout`` seconds; nothing if there is nothing."""
        ready, _, _ = select.select([self._device], [], [], timeout)
        return os.read(self._device, 1 << 16) if ready else b""

    def write(self, content):
        """Send to the host. Waits while its end is full."""
        content = memoryview(content)
        while content:
            try:
                content = content[os.write(self._device, content):]
            except BlockingIOError:
                select.select([], [self._device], [], 1.0)
