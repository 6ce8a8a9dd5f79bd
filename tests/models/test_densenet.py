"""DenseNet and DenseNet-BC against the counts and channels of the reference."""

import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import cost

PLAIN = {"bottleneck": False, "reduction": 1.0}


class DenseNetTest(tf.test.TestCase, parameterized.TestCase):
    def test_bc_40_12_has_the_references_counts_and_channels(self):
        network = models.from_preset("densenet_bc_40_12")
        self.assertEqual(network.submodel_names, ("network",))
        self.assertEqual(cost.parameters(network), 176_122)
        self.assertEqual(cost.multiply_adds(network), 72_365_352)
        self.assertEqual(_channels(network), [24, 96, 48, 120, 60, 132])
        self.assertEqual(
            cost.parameters(models.from_preset("densenet_bc_40_12", num_classes=100)), 188_092
        )

    def test_plain_40_12_has_the_references_counts_and_channels(self):
        network = models.DenseNet(**PLAIN)
        self.assertEqual(cost.parameters(network), 1_019_722)
        self.assertEqual(cost.multiply_adds(network), 264_812_928)
        self.assertEqual(_channels(network), [16, 160, 160, 304, 304, 448])

    def test_bc_100_12_has_the_references_counts_and_channels(self):
        network = models.DenseNet(depth=100)
        self.assertEqual(cost.parameters(network), 769_162)
        self.assertEqual(_channels(network), [24, 216, 108, 300, 150, 342])

    @parameterized.parameters(
        ({"depth": 43}, "such as 10 or 40.*depth=43"),
        ({"depth": 41, **PLAIN}, "such as 7 or 22.*depth=41"),
        ({"depth": 4}, "such as 10 or 40.*depth=4"),
        ({"reduction": 0.0}, "above 0 and up to 1.*reduction=0.0"),
    )
    def test_bad_settings_are_named(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            models.DenseNet(**arguments)


def _channels(network):
    """Before and after each dense block."""
    names = ["stem", "block_1_norm", "transition_1", "block_2_norm", "transition_2", "block_3_norm"]
    return [network.get_layer(name).output.shape[-1] for name in names]
