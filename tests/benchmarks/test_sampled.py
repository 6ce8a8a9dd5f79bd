"""The comparisons of sampled families: borrowed statistics, random sub-models of a cost."""

import random

import numpy as np
import tensorflow as tf

from benchmarks import case, recalibration, sandwich, search
from ipkd_tf import models
from ipkd_tf.models import cost


class SampledTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        blocks = ((16, 1), (32, 2))
        cls.network = models.USMobileNetV1(num_classes=3, image_size=8, stem=8, blocks=blocks)
        cls.images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
        for name in (*cls.network.submodel_names, "width_0.6"):
            cls.network.recalibrate(name, [cls.images])

    def test_borrowed_statistics_are_the_leading_ones_of_the_largest(self):
        own, largest = self.network.submodel("width_0.25"), self.network.submodel(-1)
        borrowed = recalibration.borrow_statistics(self.network, "width_0.25")
        norm, wide = (model.get_layer("block_2_pointwise_norm") for model in (borrowed, largest))
        self.assertAllEqual(norm.moving_mean, wide.moving_mean[:8])
        self.assertNotAllClose(borrowed(self.images), own(self.images))
        same = recalibration.borrow_statistics(self.network, "width_1.0")
        self.assertAllEqual(same(self.images), largest(self.images))

    def test_drawn_widths_against_fixed_ones(self):
        def run(one, steps, threads):
            return {"step_ms": 3.0 if one.model == "slimmable_mobilenet_v1" else 4.5}

        rows = sandwich.measure(case.Settings(methods=("ipkd",), repeats=2), run)
        self.assertEqual([row["model"] for row in rows], ["drawn", "fixed"])
        self.assertEqual([row["time"] for row in rows], [1.5, 1.0])

    def test_random_submodels_cost_what_is_asked(self):
        limit = cost.of_submodel(self.network, "width_0.9")["multiply_adds"]
        drawn = search.draw_within(self.network, f"{limit / 1e6}M", 2, random.Random(0))
        self.assertLen({submodel.name for submodel in drawn}, 2)
        for submodel in drawn:
            counted = cost.of_submodel(self.network, submodel)["multiply_adds"]
            self.assertBetween(counted, 0.9 * limit, limit)
        with self.assertRaisesRegex(ValueError, "Expected 2 sub-models.*another budget"):
            search.draw_within(self.network, "1k", 2, random.Random(0), draws=3)


if __name__ == "__main__":
    tf.test.main()
