"""SIGTERM, the announcement that a preemptible machine goes away, as an orderly end."""

import contextlib
import os
import signal
import sys
import threading

MESSAGE = "Ended by SIGTERM: the same command goes on from the last checkpoint."


class Terminated(BaseException):
    """A run was asked to end by SIGTERM; what it had done is saved."""


class Sigterm(contextlib.ExitStack):
    """While entered, SIGTERM ends the process with status 0: at once, or where the run looks.

    Whoever has something to save first sets `waits`, looks at `requested` soon, saves, and raises
    `Terminated`.
    """

    def __init__(self):
        super().__init__()
        self.waits = self.requested = False

    def __enter__(self):
        self.enter_context(handle([signal.SIGTERM], self._receive))
        return self

    def _receive(self, number, frame):
        self.requested = True
        if not self.waits:
            _end()


def _end():
    """Ends as a kill would, which no file of ours minds, but with a message and status 0.

    An exception would not do: the signal may come while TensorFlow's C++ code calls Python, and
    that code turns what is raised there into errors of its own.
    """
    with contextlib.suppress(Exception):  # the signal may also come while something is printed
        print(MESSAGE)
        sys.stdout.flush()
    os._exit(0)


@contextlib.contextmanager
def handle(numbers, handler):
    """Inside the block signals go to a handler; outside the main thread Python cannot do that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)


def default_signals():
    """Inside the block Ctrl-C and SIGTERM end the process at once, even inside C++ that waits."""
    return handle([signal.SIGINT, signal.SIGTERM], signal.SIG_DFL)
