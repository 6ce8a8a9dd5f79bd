"""Real processes, killed or asked to end at any moment, end as one that was left alone."""

import os
import pathlib
import random
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from tests.training.distributed import commands


class InterruptionTestCase(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)
        self.broken = self.directory / "broken"

    def checkpoints(self):
        return set((self.broken / "checkpoints").glob("step-*.npz"))

    def interrupt(self, signal_number, delay, **settings):
        """Starts the run, waits for its next checkpoint and then a delay, sends the signal."""
        before = self.checkpoints()
        process = commands.start(self.broken, **settings)
        commands.wait_for(lambda: self.checkpoints() - before, process)
        time.sleep(delay)
        process.send_signal(signal_number)
        return commands.finish(process, timeout=120)

    def assert_same_outcome(self, **settings):
        directories = self.broken, self.directory / "straight"
        processes = [commands.start(directory, **settings) for directory in directories]
        for process in processes:
            status, _, errors = commands.finish(process, 900)
            self.assertEqual(status, 0, errors)
        self.assertEqual(_comparable(self.broken), _comparable(self.directory / "straight"))


def _comparable(directory):
    """An outcome as text and the bytes of every array."""
    scores, history, networks, state = commands.outcome(directory)
    weights = [array for network in networks.values() for array in network]
    arrays = [np.asarray(array).tobytes() for array in (*weights, *state.values())]
    return repr((scores, history)), sorted(state), [hash(array) for array in arrays]


class QuickTest(InterruptionTestCase):
    def test_killed_twice_and_asked_to_end(self):
        settings = {"epochs": 20}
        for delay in (0.0, 0.7):
            status, _, _ = self.interrupt(signal.SIGKILL, delay, **settings)
            self.assertEqual(status, -signal.SIGKILL)
        asked = time.monotonic()
        status, output, errors = self.interrupt(signal.SIGTERM, 0.3, **settings)
        self.assertEqual(status, 0, errors)
        self.assertIn("Ended by SIGTERM: the same command goes on", output)
        self.assertLess(time.monotonic() - asked, 60)
        self.assert_same_outcome(**settings)


@pytest.mark.slow
class ManyKillsTest(InterruptionTestCase):
    """Kills in steps, in validation and while files are written; KILLS=100 for the long form."""

    KILLS = int(os.environ.get("KILLS", "22"))
    # At this rate the newest epoch is seldom the best: no later one may write over its network.
    SETTINGS = {"epochs": max(60, 3 * KILLS), "schedule": "cosine", "learning_rate": 1.5}

    @parameterized.parameters("msdnet", "slimmable")
    def test_killed_at_random_moments(self, family):
        moments = random.Random(family)
        settings = {"family": family, **self.SETTINGS}
        lost, last = 0, -1
        for _ in range(self.KILLS // 2):
            delay = moments.uniform(0, 1.5)
            status, output, errors = self.interrupt(signal.SIGKILL, delay, **settings)
            self.assertEqual(status, -signal.SIGKILL, output + errors)
            newest = max(int(path.stem.removeprefix("step-")) for path in self.checkpoints())
            lost += newest < last
            last = newest
        self.assertEqual(lost, 0)
        self.assert_same_outcome(**settings)  # best.keras is that of the run left alone


if __name__ == "__main__":
    tf.test.main()
