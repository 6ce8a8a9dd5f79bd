"""SIGTERM, the announcement that a preemptible machine goes away, as an orderly end."""

import signal
import threading


class Terminated(BaseException):
    """A run was asked to end by SIGTERM; what it had done is saved."""


class Sigterm:
    """While entered, SIGTERM raises `Terminated`: at once, or where the run next asks for it.

    Attributes:
        waits: Whether there is something to save first; whoever sets it calls `check` soon.
        requested: Whether SIGTERM has come.

    Outside the main thread, where Python cannot handle signals, it does nothing.

    Example:
        >>> with Sigterm() as sigterm:
        ...     sigterm.waits = True  # from now on the signal is only noted
    """

    def __init__(self):
        self.waits = False
        self.requested = False

    def __enter__(self):
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        if self._in_main_thread:
            self._earlier = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *error):
        if self._in_main_thread:
            signal.signal(signal.SIGTERM, self._earlier)

    def _receive(self, number, frame):
        self.requested = True
        if not self.waits:
            raise Terminated
