"""Slimmable MobileNet-V1 against the reference's counts and Keras's own MobileNet."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import cost, slimmable_mobilenet_v1


class SlimmableMobileNetV1CountsTest(tf.test.TestCase):
    def test_the_papers_network_has_the_references_counts(self):
        network = models.SlimmableMobileNetV1(num_classes=10)
        self.assertEqual(cost.parameters(network), 3_250_058)
        narrow, wide = network.submodel(0), network.submodel(3)
        self.assertEqual(cost.parameters(narrow), 215_642)
        self.assertEqual(cost.parameters(wide), 3_217_226)
        self.assertEqual(cost.multiply_adds(wide), 46_354_432)

    def test_for_photographs_it_has_the_references_counts(self):
        # reference: JiahuiYu/slimmable_networks, README: 41, 150, 325, 569 M at 224 pixels.
        for preset in ("slimmable_mobilenet_v1_imagenet", "us_mobilenet_v1_imagenet"):
            network = models.from_preset(preset)
            widths = [network.build_submodel(submodel) for submodel in network.submodels]
            macs = [round(cost.multiply_adds(model) / 1e6, 1) for model in widths]
            self.assertEqual(macs, [41.0, 149.5, 325.4, 568.7])
            self.assertEqual(cost.parameters(widths[3]), 4_231_976)

    def test_the_convolutions_of_each_width_are_those_of_keras_mobilenet(self):
        network = models.SlimmableMobileNetV1(num_classes=10)
        for index, alpha in enumerate((0.25, 0.5, 0.75, 1.0)):
            other = keras.applications.MobileNet(
                (32, 32, 3), alpha=alpha, weights=None, include_top=False
            )
            self.assertEqual(_kernel_sizes(network.submodel(index)), _kernel_sizes(other))

    def test_strides_are_those_for_32_pixels(self):
        network = models.SlimmableMobileNetV1()
        sides = [
            network.get_layer(f"width_1.0_block_{k}_depthwise_norm").output.shape[1]
            for k in range(1, 14)
        ]
        self.assertEqual(sides, [32, 16, 16, 8, 8, 4, 4, 4, 4, 4, 4, 2, 2])


def _kernel_sizes(model):
    conv = keras.layers.Conv2D | keras.layers.DepthwiseConv2D
    return [tuple(m.kernel.shape) for m in model.layers if isinstance(m, conv)]


class SlimmableMobileNetV1Test(tf.test.TestCase, parameterized.TestCase):
    def test_any_list_of_widths(self):
        network = models.SlimmableMobileNetV1(widths=(0.35, 1), blocks=((64, 2), (128, 2)))
        self.assertEqual(network.submodel_names, ("width_0.35", "width_1.0"))
        self.assertLen(network(np.zeros((1, 32, 32, 3), "uint8")), 2)

    @parameterized.parameters(
        (32, 0.25, 8), (32, 0.75, 24), (32, 0.35, 16), (64, 0.9, 56), (4, 1, 4)
    )
    def test_channels_are_multiples_of_eight_and_at_most_ten_percent_down(
        self, full, width, expected
    ):
        self.assertEqual(slimmable_mobilenet_v1.channels_at(full, width), expected)

    def test_statistics_are_private_to_each_width(self):
        network = models.SlimmableMobileNetV1(widths=(0.5, 1.0), blocks=((32, 2),))
        network(np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3)), training=True)
        narrow = network.get_layer("width_0.5_block_1_pointwise_norm").moving_mean
        wide = network.get_layer("width_1.0_block_1_pointwise_norm").moving_mean
        self.assertEqual((narrow.shape, wide.shape), ((16,), (32,)))
        self.assertNotAllClose(narrow, wide[:16])

    def test_initialisation_is_the_references(self):
        keras.utils.set_random_seed(0)
        network = models.SlimmableMobileNetV1()
        deviations = {
            "block_13_pointwise": (2 / 1024) ** 0.5,
            "block_13_depthwise": (2 / (9 * 1024)) ** 0.5,
            "logits": 0.01,
        }
        for name, deviation in deviations.items():
            self.assertNear(
                float(np.std(network.get_layer(name).kernel)), deviation, 0.05 * deviation
            )
        self.assertAllEqual(network.get_layer("logits").bias, np.zeros(10))

    @parameterized.parameters((()), ((0.5, 0.25),), ((0.0, 1.0),), ((0.5, 1.5),), ((0.5, 0.5),))
    def test_bad_widths_are_named(self, widths=()):
        with self.assertRaisesRegex(ValueError, "ascending.*Received: widths="):
            models.SlimmableMobileNetV1(widths=widths)
