"""Being told to stop: by a signal, by a thread, or by the end of the process that holds one's lifeline."""

from __future__ import annotations

import os
import select
import signal


class Told:
    """Makes SIGTERM and SIGINT end `wait`, in the main thread, for good.

    The signal itself writes into a pipe, whichever thread it finds: a handler in Python runs in the main
    thread alone, and a signal that was given to another thread need not wake that one.
    """

    def __init__(self, lifeline: int | None = None) -> None:
        """Take over the two signals; `lifeline` is a descriptor to which nothing is ever written."""
        self._ends, self._writes = os.pipe()
        os.set_blocking(self._writes, False)
        signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self._watched = [one for one in (self._ends, lifeline) if one is not None]

    def tell(self) -> None:
        """End the wait, from any thread."""
        os.write(self._writes, b"\0")

    def wait(self) -> None:
        """Wait until told; several threads may."""
        watched = select.poll()  # one for each wait: it refuses a second thread
        for descriptor in self._watched:
            watched.register(descriptor, select.POLLIN | select.POLLHUP)
        watched.poll()
