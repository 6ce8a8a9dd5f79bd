"""Measurements taken in turn."""

import functools
from unittest import mock

import tensorflow as tf

from ipkd_tf.deployment import latency


class TimingTest(tf.test.TestCase):
    def test_cases_take_turns_and_warm_up_rounds_are_dropped(self):
        taken = []

        def sample(name):
            taken.append(name)
            return len(taken)

        samples = {name: functools.partial(sample, name) for name in "AB"}
        numbers = latency.interleaved(samples, repeats=2, warmup=1)
        self.assertEqual("".join(taken), "ABABAB")
        self.assertEqual(numbers, {"A": [3, 5], "B": [4, 6]})

    def test_no_repeat_is_refused(self):
        with self.assertRaisesRegex(ValueError, "Received: repeats=0"):
            latency.interleaved({}, repeats=0)

    def test_seconds_per_call_waits_once_after_the_last_call(self):
        events = []
        with mock.patch.object(latency.time, "perf_counter", side_effect=[10.0, 16.0]):
            seconds = latency.seconds_per_call(
                lambda: events.append("call") or len(events), 3, lambda last: events.append(last)
            )
        self.assertEqual(events, ["call", "call", "call", 3])
        self.assertEqual(seconds, 2.0)

    def test_latency_is_of_the_calls_after_the_warm_up(self):
        clock = iter([0.0, 9.0, 10.0, 10.1, 11.0, 11.2, 12.0, 12.6])
        with mock.patch.object(latency.time, "perf_counter", lambda: next(clock)):
            figures = latency.measure(lambda: None, warmup=1, repeats=3)
        self.assertAllClose([figures["median_ms"], figures["p95_ms"]], [200.0, 560.0])
