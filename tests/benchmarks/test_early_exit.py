"""The benchmark of early exit: the arithmetic it reports is that of the exits taken."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf

import benchmarks
from benchmarks import early_exit, tables

SETTINGS = benchmarks.Settings(
    models=("tests.models.two_exits:TwoExits",), batch_sizes=(4,), image_size=8, repeats=1
)


class EarlyExitTest(tf.test.TestCase):
    def test_rows(self):
        keras.utils.set_random_seed(0)
        # Of the convolutions at 3 x 3 and 1 x 1 pixels and the dense layers:
        first, head = 3 * 3 * 8 * 27, 8 * 10
        second, last = 1 * 1 * 16 * 72, 16 * 10
        alone = first + second + last
        with mock.patch.object(early_exit, "BATCH_SIZES", (64,)):
            rows = early_exit.measure(SETTINGS)
        found = {row["leaving"]: row["multiply_adds_share"] for row in rows}
        self.assertEqual((found["full"], found["skip"]), (1.0, 1.0))
        self.assertNear(found["0 %"], (alone + head) / alone, 1e-6)
        self.assertNear(found["100 %"], (first + head) / alone, 1e-6)
        self.assertNear(found["50 %"], (found["0 %"] + found["100 %"]) / 2, 0.02)
        self.assertBetween(found["90 %"], found["100 %"], found["50 %"])
        for row in rows:
            self.assertGreater(row["images_per_s"], 0)
        result = {"machine": benchmarks.machine(SETTINGS), "rows": {"adaptive": rows}}
        self.assertIn("saving arrived", tables.table(result))

    def test_what_arrives_on_the_clock(self):
        seconds = {(32, "full"): [1.0, 10.0, 1.0], (32, "50 %"): [0.75, 7.5, 0.75]}
        row = early_exit._row("m", (32, "50 %"), 0.5, seconds)
        self.assertEqual((row["time_share"], row["saving_arrived"]), (0.75, 0.5))
        self.assertEqual(row["images_per_s"], 256 / 0.75)
        self.assertIsNone(early_exit._row("m", (32, "full"), 1.0, seconds)["saving_arrived"])

    def test_every_image_is_timed_once_in_a_sample(self):
        sizes = []

        def run(images):
            sizes.append(len(images))
            return {"exit": tf.constant(0)}

        early_exit._seconds(run, np.zeros((10, 1)), 4)
        self.assertEqual(sizes, [4, 4, 2])
