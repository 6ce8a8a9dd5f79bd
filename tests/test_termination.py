"""SIGTERM at once, or when the work is saved."""

import os
import signal
import threading

from absl.testing import absltest

from ipkd_tf.termination import Sigterm, Terminated


class SigtermTest(absltest.TestCase):
    def test_ends_at_once_when_there_is_nothing_to_save(self):
        with self.assertRaises(Terminated), Sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            self.fail("went on")

    def test_waits_for_what_is_to_be_saved(self):
        with Sigterm() as sigterm:
            sigterm.waits = True
            self.assertFalse(sigterm.requested)
            os.kill(os.getpid(), signal.SIGTERM)
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
