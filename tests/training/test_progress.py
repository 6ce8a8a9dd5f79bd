"""What is said while images are read."""

import contextlib
import io
from unittest import mock

import tensorflow as tf

from ipkd_tf.training import progress


class ReadingTest(tf.test.TestCase):
    def output(self, seconds, terminal):
        """What is printed if 256 of 700 images are read by the first of these times, and so on."""
        printed = io.StringIO()
        printed.isatty = lambda: terminal
        with (
            contextlib.redirect_stdout(printed),
            mock.patch.object(progress.time, "monotonic", return_value=0.0) as clock,
        ):
            tell = progress.reading()
            for clock.return_value, done in zip(seconds, (256, 512, 700), strict=True):
                tell(done, 700)
        return printed.getvalue()

    def test_a_line_every_few_seconds(self):
        self.assertEqual(
            self.output((6, 10, 12), terminal=False),
            "read 256 of 700 images\nread 700 of 700 images\n",
        )

    def test_a_bar_on_a_terminal(self):
        self.assertIn("700/700", self.output((6, 7, 8), terminal=True))

    def test_silent_when_quick(self):
        for terminal in (False, True):
            self.assertEqual(self.output((1, 2, 3), terminal), "")
