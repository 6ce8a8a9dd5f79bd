"""What is said while something takes long."""

import contextlib
import io
from unittest import mock

import tensorflow as tf

from ipkd_tf.output import counter


@contextlib.contextmanager
def output(terminal):
    """What is printed, and a clock that stands still: its `return_value` is the time."""
    printed = io.StringIO()
    printed.isatty = lambda: terminal
    with (
        contextlib.redirect_stdout(printed),
        mock.patch.object(counter.time, "monotonic", return_value=0.0) as clock,
    ):
        yield printed, clock


class CounterTest(tf.test.TestCase):
    def read(self, seconds, terminal):
        """What is printed if 256 of 700 images are read by the first of these times, and so on."""
        with output(terminal) as (printed, clock), counter.shown():
            tell = counter.count("reading")
            for clock.return_value, done in zip(seconds, (256, 512, 700), strict=True):
                tell(done, 700)
        return printed.getvalue()

    def test_a_line_now_and_then(self):
        # 444 images left at 6 / 256 seconds each are 10.4 seconds.
        first, last = self.read((6, 10, 12), terminal=False).splitlines()
        self.assertEqual(first, "reading: 256 of 700 images, 0:00:10 left")
        self.assertEqual(last, "reading: 700 of 700 images, 0:00:12 in all")

    def test_lines_become_fewer(self):
        with output(terminal=False) as (printed, clock), counter.shown():
            for clock.return_value in counter.track(range(3601), "searching", "sub-models"):
                pass
        times = [int(line.split()[1]) for line in printed.getvalue().splitlines()]
        self.assertEqual(times[:5], [7, 18, 39, 80, 141])
        self.assertEqual(times[-1], 3601)
        self.assertLess(len(times), 65)

    def test_a_bar_on_a_terminal(self):
        printed = self.read((6, 7, 8), terminal=True)
        self.assertIn("reading: ", printed)
        self.assertIn("256/700", printed)
        self.assertEndsWith(printed, "\n")
        self.assertIn("700/700", printed.splitlines()[-1])

    def test_silent_when_quick(self):
        for terminal in (False, True):
            self.assertEqual(self.read((1, 2, 3), terminal), "")

    def track(self, items):
        """The items, and what is printed if each of them takes ten seconds."""
        seen = []
        with output(terminal=False) as (printed, clock):
            for item in counter.track(items, "comparing"):
                clock.return_value += 10
                seen += [item, *counter.track([0, 0], "inside")]
                clock.return_value += 10
        return seen, printed.getvalue().splitlines()

    def test_the_outer_loop_alone_speaks(self):
        with counter.shown():
            seen, lines = self.track("ab")
        self.assertEqual(seen, ["a", 0, 0, "b", 0, 0])
        self.assertEqual(
            lines,
            ["comparing: 1 of 2 images, 0:00:20 left", "comparing: 2 of 2 images, 0:00:40 in all"],
        )

    def test_silent_outside_of_programs(self):
        self.assertEqual(self.track("ab"), (["a", 0, 0, "b", 0, 0], []))

    def test_items_of_unknown_number(self):
        with counter.shown():
            self.assertEqual(self.track(iter("a")), (["a", 0, 0], []))

    def test_an_error_inside_ends_it(self):
        with counter.shown():
            with self.assertRaises(ZeroDivisionError):
                for _ in counter.track([1], "comparing"):
                    raise ZeroDivisionError
            with output(terminal=False) as (printed, clock):
                for clock.return_value in counter.track([10], "comparing"):
                    pass
        self.assertIn("comparing: 1 of 1", printed.getvalue())

    def test_a_line_above_a_bar(self):
        with output(terminal=True) as (printed, _):
            counter.say("the best")
        self.assertEqual(printed.getvalue(), "the best\n")


if __name__ == "__main__":
    tf.test.main()
