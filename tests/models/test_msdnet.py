"""MSDNet against the counts and the layer structure of the reference implementation."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import cost


class MSDNetCountsTest(tf.test.TestCase):
    def test_the_papers_network_has_the_references_counts(self):
        network = models.MSDNet(num_classes=10)
        self.assertEqual(cost.parameters(network), 2_986_690)
        self.assertEqual(cost.multiply_adds(network), 75_407_104)
        submodels = [network.submodel(i) for i in range(7)]
        self.assertEqual(
            [round(cost.multiply_adds(m) / 1e6, 1) for m in submodels],
            [13.2, 19.7, 27.8, 33.6, 40.4, 46.3, 51.9],
        )
        self.assertEqual(
            [round(cost.parameters(m) / 1e6, 2) for m in submodels],
            [0.42, 0.52, 0.51, 0.61, 0.72, 0.71, 0.84],
        )

    def test_the_network_for_photographs_counted_arrow_by_arrow(self):
        parameters = macs = 0

        def conv(inputs, outputs, kernel, side):
            nonlocal parameters, macs
            parameters += kernel**2 * inputs * outputs + 2 * outputs  # and a normalisation
            macs += kernel**2 * inputs * outputs * side**2

        def pair(inputs, outputs, factor, side, side_out):
            inner = min(inputs, factor * outputs)
            conv(inputs, inner, 1, side)
            conv(inner, outputs, 3, side_out)

        # reference: kalviny/MSDNet-PyTorch, models/msdnet.py: step 4, 1-2-4-4, growth 16, for 224
        # pixels (the bias of its first convolution left out: a normalisation follows).
        factors, sides, width = (1, 2, 4, 4), (56, 28, 14, 7), 32
        conv(3, 32, 7, 112)
        for s in (1, 2, 3):
            conv(32 * factors[s - 1], 32 * factors[s], 3, sides[s])
        for number in range(1, 21):
            finest_in, finest_out = max(0, number - 2) // 5, (number - 1) // 5
            for s in range(finest_out, 4):
                added = 16 * factors[s]
                if s == finest_in:
                    pair(width * factors[s], added, factors[s], sides[s], sides[s])
                else:
                    down, half = width * factors[s - 1], added // 2
                    pair(down, half, factors[s - 1], sides[s - 1], sides[s])
                    pair(width * factors[s], half, factors[s], sides[s], sides[s])
            width += 16
            if finest_out > finest_in:
                for s in range(finest_out, 4):
                    conv(width * factors[s], width // 2 * factors[s], 1, sides[s])
                width //= 2
            if number % 4 == 0:
                conv(4 * width, 4 * width, 3, 4)
                conv(4 * width, 4 * width, 3, 2)
                parameters += 4 * width * 1000 + 1000
                macs += 4 * width * 1000
        network = models.from_preset("msdnet_imagenet")
        self.assertEqual(network.outputs[4].shape, (None, 1000))
        self.assertEqual(cost.parameters(network), parameters)
        self.assertEqual(cost.multiply_adds(network), macs)

    def test_classifier_inputs_are_the_references(self):
        network = models.MSDNet()
        channels = [network.get_layer(f"exit_{k}_conv_1").kernel.shape[2] for k in range(1, 8)]
        self.assertEqual(channels, [160, 208, 140, 188, 236, 152, 200])

    def test_transitions_halve_the_channels_after_layers_7_and_13(self):
        network = models.MSDNet()
        shapes = {
            layer.name: tuple(layer.kernel.shape[2:])
            for layer in network.layers
            if layer.name.endswith("transition")
        }
        self.assertEqual(
            shapes,
            {
                "block_3_layer_1_scale_2_transition": (116, 58),
                "block_3_layer_1_scale_3_transition": (232, 116),
                "block_6_layer_1_scale_3_transition": (260, 128),
            },
        )


class MSDNetSettingsTest(tf.test.TestCase, parameterized.TestCase):
    def test_lin_grow_adds_layers_block_by_block(self):
        network = models.MSDNet(blocks=4, base=1, step=2, step_mode="lin_grow", prune="min")
        lengths = [
            len({w.path.split("_scale")[0] for w in network.weights if f"block_{k}_" in w.path})
            for k in range(1, 5)
        ]
        self.assertEqual(lengths, [1, 3, 5, 7])

    @parameterized.parameters(1, 2, 4)
    def test_number_of_scales(self, scales):
        factors = (1, 2, 4, 4)[:scales]
        network = models.MSDNet(
            blocks=2, base=2, growth_factors=factors, bottleneck_factors=factors, image_size=32
        )
        coarsest = network.get_layer(f"stem_scale_{scales}").output.shape
        self.assertEqual(tuple(coarsest), (None, *[32 // 2 ** (scales - 1)] * 2, 16 * factors[-1]))

    def test_without_bottleneck_3x3_convolutions_read_the_features(self):
        network = models.MSDNet(blocks=2, base=2, bottleneck=False, reduction=0.0)
        names = [layer.name for layer in network.layers]
        self.assertFalse([name for name in names if "bottleneck" in name or "transition" in name])
        kernel = network.get_layer("block_1_layer_1_scale_2_down").kernel
        self.assertEqual(tuple(kernel.shape), (3, 3, 16, 6))

    @parameterized.parameters(
        ({"blocks": 0}, "positive whole numbers.*blocks=0"),
        ({"growth": 2.5}, "positive whole numbers.*growth=2.5"),
        ({"step_mode": "odd"}, "even, lin_grow.*'odd'"),
        ({"prune": "some"}, "min, max.*'some'"),
        ({"reduction": 2}, "share from 0 to 1.*reduction=2"),
        ({"growth": 3, "growth_factors": (1, 1, 1)}, "even growth.*growth=3"),
        ({"growth_factors": (1, 2)}, "one bottleneck factor for each.*\\(1, 2\\)"),
        ({"std": (0.2, 0.0, 0.2)}, "positive standard deviation.*std"),
    )
    def test_bad_settings_are_named(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            models.MSDNet(**arguments)


class MSDNetInitialisationTest(tf.test.TestCase):
    def test_kernels_and_biases_are_uniform_in_one_over_the_root_of_fan_in(self):
        keras.utils.set_random_seed(0)
        network = models.MSDNet()
        cases = [
            (network.get_layer("exit_1_conv_1").kernel, 9 * 160),
            (network.get_layer("block_1_layer_1_scale_1_bottleneck").kernel, 16),
            (network.get_layer("exit_1_logits").kernel, 128),
        ]
        for kernel, fan_in in cases:
            bound = fan_in**-0.5
            self.assertAllLessEqual(np.abs(kernel), bound)
            self.assertNear(float(np.std(kernel)), bound / 3**0.5, 0.1 * bound)
        bias = network.get_layer("exit_1_logits").bias.numpy()
        self.assertAllLessEqual(np.abs(bias), 128**-0.5)
        self.assertGreater(np.std(bias), 0.0)
