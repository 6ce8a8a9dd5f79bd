"""Networks made faster: the same logits, and nothing left of what slowed them down."""

import keras
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.deployment.early_exit import inference
from ipkd_tf.models import cost, slimmable_layers
from tests.deployment.early_exit import small


class InferenceTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*small.FAMILIES)
    def test_the_same_logits_and_arithmetic(self, family):
        network = small.network(family)
        made = inference.fastest(network)
        for a, b in zip(made(small.IMAGES), network(small.IMAGES), strict=True):
            self.assertAllClose(a, b, rtol=0, atol=1e-4)
        self.assertEqual(made.submodel_names, network.submodel_names)
        self.assertEqual(cost.multiply_adds(made), cost.multiply_adds(network))

    def test_exits_stay_one_network_and_widths_become_several(self):
        exits, widths = (inference.fastest(small.network(family)) for family in small.FAMILIES)
        slow = (keras.Model, keras.layers.BatchNormalization)
        self.assertFalse([one for one in exits.layers if isinstance(one, slow)])
        plain = [one for one in widths.layers if isinstance(one, keras.Model)]
        self.assertEqual([one.name for one in plain], ["width_0.5", "width_0.75", "width_1.0"])
        for one in plain:
            slow = (slimmable_layers.SlimmableConv2D, keras.layers.BatchNormalization)
            # Normalisation after a padded depthwise convolution folds as well.
            self.assertFalse([layer for layer in one.layers if isinstance(layer, slow)])
