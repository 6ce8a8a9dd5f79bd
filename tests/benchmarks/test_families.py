"""The benchmark of all families: the multiply-adds of what a step trains, by hand."""

import random

import tensorflow as tf

from benchmarks import case, families
from ipkd_tf import models
from ipkd_tf.models import cost

TINY = "tests.models.two_exits:TwoExits"


class FamiliesTest(tf.test.TestCase):
    def test_possible_is_three_times_the_forward_pass_at_the_rate_of_products(self):
        def run(one, steps, threads, products):
            del one, steps, threads, products
            times = {"core_ms": 8.0, "start_core_s": 1.0, "peak_mb": 2.0}
            return {**times, "step_ms": 5.0, "product_rate": 3e6}

        settings = case.Settings(models=(TINY,), batch_size=4, image_size=8, repeats=1)
        (row,) = families.measure(settings, run)
        # The convolutions at 3 x 3 and 1 x 1 pixels, shared once, and both dense layers.
        forward = 3 * 3 * 8 * 27 + 8 * 10 + 1 * 1 * 16 * 72 + 16 * 10
        self.assertAllClose(row["multiply_adds"], forward / 1e6)
        self.assertAllClose(row["possible_ms"], 1e3 * 3 * forward * 4 / 3e6)
        self.assertAllClose(row["ratio"], row["possible_ms"] / 8)

    def test_of_drawn_widths_it_is_the_sum(self):
        blocks = ((16, 1), (32, 2))
        ends, more = (
            models.USMobileNetV1(image_size=8, stem=8, blocks=blocks, draws=draws)
            for draws in (0, 1)
        )
        costs = [cost.of_submodel(ends, k)["multiply_adds"] for k in (0, -1)]
        self.assertEqual(families.trained_multiply_adds(ends), sum(costs))
        between = families.trained_multiply_adds(more) - sum(costs)
        self.assertBetween(between, *costs)

    def test_of_drawn_genes_it_is_the_sum(self):
        network = models.from_preset(
            "ofa_mobilenet_v3_small", image_size=8, draws=0, named=["k3_e2_d2", "k5_e4_d3"]
        )
        costs = [cost.of_submodel(network, k)["multiply_adds"] for k in (0, -1)]
        self.assertEqual(families.trained_multiply_adds(network), sum(costs))

    def test_of_sampled_paths_it_is_the_mean(self):
        network = models.CNMM(image_size=8, channels=(8, 16), nodes=3)
        link = 8 * 8 * 8 * (9 + 8) + 4 * 4 * 16 * (9 + 16)
        fixed = cost.of_submodel(network, 0)["multiply_adds"] - link

        def links(node):
            return 1 + links(generator.randrange(node)) if node else 0

        generator = random.Random(0)
        mean = sum(links(d) for d in (1, 2, 3) for _ in range(4_000)) / 4_000
        self.assertAllClose(
            families.trained_multiply_adds(network), 3 * fixed + mean * link, rtol=0.01
        )


if __name__ == "__main__":
    tf.test.main()
