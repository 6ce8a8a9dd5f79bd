"""Residual networks against the counts of the reference."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import cost

PARAMETERS = {
    8: 78_042,
    14: 175_258,
    20: 272_474,
    26: 369_690,
    32: 466_906,
    44: 661_338,
    56: 855_770,
    110: 1_730_714,
}


class ResNetTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_references_counts(self):
        for depth, parameters in PARAMETERS.items():
            network = models.from_preset(f"resnet_{depth}")
            self.assertEqual(network.submodel_names, ("network",))
            self.assertEqual(cost.parameters(network), parameters)
            # Each stage halves the side and doubles the channels: its blocks cost what others' do.
            further = (depth - 8) // 6 * 3 * (2 * 9 * 16 * 16 * 32 * 32)
            self.assertEqual(cost.multiply_adds(network), 12_501_632 + further)
        self.assertEqual(cost.parameters(models.ResNet(100, depth=8)), 78_042 + 5_850)

    def test_initialisation_is_the_references(self):
        keras.utils.set_random_seed(0)
        network = models.ResNet(depth=8)
        for name, terms in (("stage_3_block_1_conv_2", 9 * 64), ("stage_3_block_1_shortcut", 64)):
            kernel = np.array(network.get_layer(name).kernel)
            self.assertNear(np.std(kernel), (2 / terms) ** 0.5, 0.05 * (2 / terms) ** 0.5)
            self.assertGreater(np.max(np.abs(kernel)), 2.5 * (2 / terms) ** 0.5)

    @parameterized.parameters(
        ({"depth": 18}, "such as 8 or 14.*depth=18"),
        ({"depth": 2}, "such as 8 or 14.*depth=2"),
        ({"channels": ()}, "positive whole numbers.*channels"),
    )
    def test_bad_settings_are_named(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            models.ResNet(**arguments)
