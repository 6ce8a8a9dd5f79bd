"""The benchmark of early exit: the arithmetic it reports is that of the exits taken."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from benchmarks import case, early_exit

SETTINGS = case.Settings(models=("tests.models.two_exits:TwoExits",), image_size=8, repeats=1)


class EarlyExitTest(tf.test.TestCase):
    def test_rows(self):
        keras.utils.set_random_seed(0)
        # Of the convolutions at 3 x 3 and 1 x 1 pixels and the dense layers:
        first, head = 3 * 3 * 8 * 27, 8 * 10
        second, last = 1 * 1 * 16 * 72, 16 * 10
        alone = first + second + last
        with mock.patch.object(early_exit, "BATCH_SIZES", (64,)):
            rows = early_exit.measure(SETTINGS)
        share = {row["leaving"]: row["arithmetic"] for row in rows}
        self.assertEqual((share["largest alone"], share["none, exits skipped"]), (1.0, 1.0))
        self.assertNear(share["all"], (first + head) / alone, 1e-6)
        self.assertNear(share["50 %"], ((alone + head) + (first + head)) / 2 / alone, 0.02)
        self.assertBetween(share["90 %"], share["all"], share["50 %"])
        for row in rows:
            self.assertGreater(row["images_per_s"], 0)
            self.assertAllClose(row["ratio"] * row["time"], row["arithmetic"])

    def test_every_image_is_timed_once_in_a_sample(self):
        sizes = []

        def run(images):
            sizes.append(len(images))
            return {"exit": tf.constant(0)}

        early_exit._seconds(run, np.zeros((10, 1)), 4)
        self.assertEqual(sizes, [4, 4, 2])
