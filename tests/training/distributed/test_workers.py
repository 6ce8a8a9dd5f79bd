"""Two real processes on the loopback address against one."""

import pathlib
import signal

import pytest
import tensorflow as tf

from tests.training.distributed import commands


class WorkersTestCase(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)

    def start_two(self, second="two", **settings):
        return [
            commands.start(
                self.directory / workdir, environment=environment, strategy="auto", **settings
            )
            for workdir, environment in zip(("two", second), commands.cluster(2), strict=True)
        ]

    def numbers(self, workdir):
        """Scores, history, weights and optimizer of a finished run, in a fixed order."""
        values = tf.nest.flatten(commands.outcome(self.directory / workdir))
        return [value for value in values if not isinstance(value, str)]


class TogetherTest(WorkersTestCase):
    def test_two_workers_take_the_steps_of_one_process(self):
        # The second is given a directory of its own, which shows that it writes nothing.
        chief, other = self.start_two(second="unused", clip_norm=1.0)
        one = commands.start(self.directory / "one", clip_norm=1.0)
        for process in (one, chief, other):
            status, output, errors = commands.finish(process)
            self.assertEqual(status, 0, errors)
        self.assertEqual(output, "")
        self.assertFalse((self.directory / "unused").exists())
        one, two = map(self.numbers, ("one", "two"))
        self.assertGreater(len(one), 100)
        for number, (alone, together) in enumerate(zip(one, two, strict=True)):
            self.assertAllClose(alone, together, 1e-5, 1e-5, msg=number)


class LonelyWorkerTest(WorkersTestCase):
    def test_a_worker_whose_peer_does_not_come_says_so_and_ends_when_asked(self):
        asked = ((signal.SIGTERM, 0, "Ended by SIGTERM"), (signal.SIGINT, 130, "Interrupted"))
        processes = [
            commands.start(self.directory / "two", environment=commands.cluster(2)[0])
            for _ in asked
        ]
        for process, (number, status, text) in zip(processes, asked, strict=True):
            line = process.stderr.readline()
            while line and "waiting for" not in line:
                line = process.stderr.readline()
            self.assertRegex(line, r"^waiting for 1 of 2 workers at 127.0.0.1:\d+$")
            process.send_signal(number)
            ended, output, errors = commands.finish(process, timeout=120)
            self.assertEqual(ended, status, errors)
            self.assertIn(text, output + errors)


@pytest.mark.slow
class PreemptedWorkerTest(WorkersTestCase):
    def test_sigterm_to_one_saves_inside_the_epoch_and_all_go_on(self):
        settings = {"epochs": 2, "train_examples": 1000, "learning_rate": 0.01}  # 60 steps each
        chief, other = self.start_two(**settings)
        checkpoints = self.directory / "two" / "checkpoints"
        commands.wait_for(lambda: list(checkpoints.glob("step-*.npz")), chief)
        other.send_signal(signal.SIGTERM)
        for process in (chief, other):
            status, output, errors = commands.finish(process, timeout=60)
            self.assertEqual(status, 0, errors)
            self.assertIn("Ended by SIGTERM", output)
        newest = max(checkpoints.glob("step-*.npz")).stem
        self.assertEqual(int(newest.removeprefix("step-")) % 60 % 16, 1, newest)

        again = *self.start_two(**settings), commands.start(self.directory / "one", **settings)
        for process in again:
            status, output, errors = commands.finish(process)
            self.assertEqual(status, 0, errors)
        one, two = map(self.numbers, ("one", "two"))
        for number, (alone, together) in enumerate(zip(one, two, strict=True)):
            self.assertAllClose(alone, together, 1e-5, 1e-5, msg=number)

    def test_divergence_at_one_is_everybodys(self):
        processes = self.start_two(learning_rate=1e30, epochs=6)
        for process in processes:
            status, output, errors = commands.finish(process, timeout=90)
            self.assertEqual(status, 1, output)
            self.assertIn("training diverged at step", errors)


@pytest.mark.slow
class LostWorkerTest(WorkersTestCase):
    def test_a_lost_worker_ends_the_others_and_all_go_on(self):
        settings = {"epochs": 12, "learning_rate": 0.01}
        chief, other = self.start_two(**settings)
        history = self.directory / "two" / "history.csv"
        commands.wait_for(history.exists, chief)
        other.send_signal(signal.SIGKILL)
        commands.finish(other)
        status, output, errors = commands.finish(chief, timeout=60)
        self.assertEqual(status, 1, output)
        self.assertIn("another worker was lost", errors)
        self.assertIn("start the same command on every host again", errors)
        done = len(commands.history(self.directory / "two"))
        self.assertLess(done, 12)

        chief, other = self.start_two(**settings)
        status, output, errors = commands.finish(chief)
        self.assertEqual(status, 0, errors)
        self.assertEqual(commands.finish(other)[0], 0)
        self.assertRegex(output, r"goes on after step \d+0,")
        self.assertLen(commands.history(self.directory / "two"), 12)


if __name__ == "__main__":
    tf.test.main()
