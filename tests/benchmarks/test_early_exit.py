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
        shares = {"100 %": 1.0, "80 %": 0.8, "25 %": 0.25}
        with (
            mock.patch.object(early_exit, "BATCH_SIZES", {"tensorflow": (64,), "litert": (1,)}),
            mock.patch.object(early_exit, "_SHARES", shares),
        ):
            rows = early_exit.measure(SETTINGS)
        self.assertLen(rows, 8)
        for runtime in ("tensorflow", "litert"):
            share = {r["share"]: r["arithmetic"] for r in rows if r["runtime"] == runtime}
            self.assertEqual((share["largest alone"], share["100 %"]), (1.0, 1.0))
            self.assertNear(share["80 %"], 0.8, 0.03)
            # No cheaper than where all leave at the first exit.
            self.assertNear(share["25 %"], (first + head) / alone, 1e-6)
        for row in rows:
            self.assertGreater(row["images_per_s"], 0)
            if row["arithmetic"] == 1:
                self.assertIsNone(row["ratio"])
            else:
                self.assertAllClose(1 - row["ratio"] * (1 - row["arithmetic"]), row["time"])

    def test_every_image_is_timed_once_in_a_sample(self):
        sizes = []

        def run(images):
            sizes.append(len(images))
            return {"class_id": tf.constant(0)}

        early_exit._seconds(run, np.zeros((10, 1)), 4)
        self.assertEqual(sizes, [4, 4, 2])
