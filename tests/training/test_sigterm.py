"""SIGTERM at once, or when the work is saved."""

import os
import signal
import sys
import threading

from absl.testing import absltest

from ipkd_tf.training.sigterm import MESSAGE, Sigterm, Terminated


def in_child(action):
    """Exit status and output of an action in a forked process that ends with status 3."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            sys.stdout = open(writing, "w")  # noqa: SIM115  the process ends before it is closed
            action()
        finally:
            os._exit(3)
    os.close(writing)
    with open(reading) as output:
        text = output.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


class SigtermTest(absltest.TestCase):
    def test_ends_at_once_when_there_is_nothing_to_save(self):
        def run():
            with Sigterm():
                print("before")
                terminate()

        self.assertEqual(in_child(run), (0, f"before\n{MESSAGE}\n"))

    def test_ends_although_the_code_below_would_swallow_every_exception(self):
        def run():
            with Sigterm():
                try:
                    terminate()
                except BaseException:
                    os._exit(4)

        self.assertEqual(in_child(run)[0], 0)

    def test_ends_in_the_middle_of_a_print(self):
        class Busy:
            def write(self, text):
                raise RuntimeError("reentrant call")

        def run():
            with Sigterm():
                sys.stdout = Busy()
                terminate()

        self.assertEqual(in_child(run)[0], 0)

    def test_waits_for_what_is_to_be_saved(self):
        with Sigterm() as sigterm:
            sigterm.waits = True
            self.assertFalse(sigterm.requested)
            terminate()
            self.assertTrue(sigterm.requested)

    def test_afterwards_the_signal_is_whose_it_was(self):
        before = signal.getsignal(signal.SIGTERM)
        with Sigterm():
            self.assertIsNot(signal.getsignal(signal.SIGTERM), before)
        self.assertIs(signal.getsignal(signal.SIGTERM), before)

    def test_does_nothing_outside_the_main_thread(self):
        entered = []

        def work():
            with Sigterm() as sigterm:
                entered.append(sigterm)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertLen(entered, 1)

    def test_no_handler_of_errors_swallows_it(self):
        self.assertFalse(issubclass(Terminated, Exception))


if __name__ == "__main__":
    absltest.main()
