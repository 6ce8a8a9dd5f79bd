"""Networks by name, and weight names that the next version must still know."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from tests.models import two_exits


class BuildTest(tf.test.TestCase, parameterized.TestCase):
    def test_presets_and_arguments(self):
        network = models.from_preset("msdnet_small", num_classes=3, blocks=2)
        self.assertIsInstance(network, models.MSDNet)
        self.assertEqual(network.submodel_names, ("exit_1", "exit_2"))
        self.assertEqual(network.output_shape, [(None, 3), (None, 3)])

    def test_an_own_family_by_import_path(self):
        network = models.from_preset("tests.models.two_exits:TwoExits", num_classes=3)
        self.assertIsInstance(network, two_exits.TwoExits)

    @parameterized.parameters(
        ("resnet", {}, "Expected a model from msdnet, .*'resnet'"),
        ("no.such.module:Net", {}, "can be imported.*no.such.module:Net"),
        ("tests.models.two_exits:Net", {}, "can be imported.*two_exits:Net"),
        ("msdnet", {"width": 2}, "Expected arguments that msdnet takes .*width"),
    )
    def test_unknown_names_and_arguments(self, name, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            models.from_preset(name, **arguments)


class WeightNamesTest(tf.test.TestCase):
    """A saved network loads in the next version only while these names stay."""

    def test_msdnet(self):
        network = models.MSDNet(
            blocks=2, base=1, step=1, growth_factors=(1, 2), bottleneck_factors=(1, 2)
        )
        self.assertCountEqual(
            [w.path for w in network.trainable_weights if "_norm/" not in w.path],
            [
                "stem_scale_1/kernel",
                "stem_scale_2/kernel",
                "block_1_layer_1_scale_1_bottleneck/kernel",
                "block_1_layer_1_scale_2_bottleneck/kernel",
                "block_1_layer_1_scale_1_normal/kernel",
                "block_1_layer_1_scale_2_down/kernel",
                "block_1_layer_1_scale_2_normal/kernel",
                "block_2_layer_1_scale_1_bottleneck/kernel",
                "block_2_layer_1_scale_2_bottleneck/kernel",
                "block_2_layer_1_scale_2_down/kernel",
                "block_2_layer_1_scale_2_normal/kernel",
                "exit_1_conv_1/kernel",
                "block_2_layer_1_scale_2_transition/kernel",
                "exit_2_conv_1/kernel",
                "exit_1_conv_2/kernel",
                "exit_2_conv_2/kernel",
                "exit_1_logits/kernel",
                "exit_1_logits/bias",
                "exit_2_logits/kernel",
                "exit_2_logits/bias",
            ],
        )

    def test_slimmable_mobilenet_v1(self):
        network = models.SlimmableMobileNetV1(widths=(0.5, 1.0), blocks=((64, 1),))
        self.assertCountEqual(
            [w.path for w in network.trainable_weights],
            [
                "stem/kernel",
                "block_1_depthwise/depthwise_kernel",
                "block_1_pointwise/kernel",
                "logits/kernel",
                "logits/bias",
                *[
                    f"width_{width}_{name}_norm/{weight}"
                    for width in ("0.5", "1.0")
                    for name in ("stem", "block_1_depthwise", "block_1_pointwise")
                    for weight in ("gamma", "beta")
                ],
            ],
        )


# Of one network of each family, its weights given: the first image's logits.
GOLDEN = {
    "msdnet_small": [[-0.8379, -0.0979, 0.7194], [0.8221, -0.5612, -0.1287]],
    "slimmable_mobilenet_v1_small": [
        [-0.0333, 0.1507, 0.0186],
        [0.1232, 0.1835, -0.319],
        [-0.3603, 0.3366, 0.1618],
        [0.8556, 0.5419, 0.6045],
    ],
}


def filled(preset):
    """The logits of a network whose weights and images are always the same."""
    arguments = {"msdnet_small": {"blocks": 2}, "slimmable_mobilenet_v1_small": {}}[preset]
    network = models.from_preset(preset, num_classes=3, image_size=16, **arguments)
    generator = np.random.RandomState(0)  # its numbers stay the same in every version of numpy
    for weight in sorted(network.weights, key=lambda weight: weight.path):
        values = generator.normal(size=weight.shape)
        if weight.path.endswith(("gamma", "variance")):
            values = np.exp(0.2 * values)
        elif weight.path.endswith("depthwise_kernel"):
            values *= (2 / 9) ** 0.5
        elif values.ndim > 1:
            values *= (2 / np.prod(values.shape[:-1])) ** 0.5
        else:
            values *= 0.1
        weight.assign(values)
    images = generator.randint(0, 256, (2, 16, 16, 3)).astype("uint8")
    return network(images, training=False)


class FunctionTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*GOLDEN)
    def test_the_same_weights_mean_the_same_function_in_the_next_version(self, preset):
        for logits, expected in zip(filled(preset), GOLDEN[preset], strict=True):
            self.assertAllClose(logits[0], expected, rtol=2e-3, atol=2e-3)
