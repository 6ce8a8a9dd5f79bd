"""Plain CNNs against the counts of the paper's networks, and their exits."""

import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import cost

COUNTS = {
    (10, 2): (13_082, 1_042_432),
    (10, 4): (37_338, 6_361_088),
    (10, 6): (82_778, 9_889_792),
    (10, 8): (327_962, 13_451_904),
    (10, 10): (2_487_850, 71_795_968),
    (100, 2): (215_172, 3_448_832),
    (100, 4): (475_652, 24_887_296),
    (100, 6): (1_107_204, 39_452_672),
    (100, 8): (1_246_276, 52_861_184),
    (100, 10): (2_931_460, 72_239_104),
}


class PlainCNNTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_papers_networks_have_the_papers_counts(self):
        for (num_classes, depth), counts in COUNTS.items():
            network = models.from_preset(f"plain_cnn_{depth}", num_classes=num_classes)
            self.assertEqual(network.submodel_names, ("network",))
            self.assertEqual((cost.parameters(network), cost.multiply_adds(network)), counts)

    def test_fewer_than_100_classes_take_the_layout_for_10(self):
        network = models.PlainCNN(num_classes=20, depth=2)
        self.assertEqual(cost.parameters(network), 13_082 + 10 * (16 * 8 * 8 + 1))

    def test_exits_share_one_trunk(self):
        network = models.from_preset("plain_cnn_exits")
        self.assertEqual(
            network.submodel_names, ("layers_2", "layers_4", "layers_6", "layers_8", "layers_10")
        )
        trunk = [3, 32, 32, 64, 64, 128, 128, 256, 256, 256, 256]
        weights = [9 * a * b + 3 * b for a, b in zip(trunk, trunk[1:], strict=False)]
        sides = [32, 32, 16, 16, 8, 8, 4, 4, 4, 4]
        products = [
            9 * a * b * side**2 for a, b, side in zip(trunk, trunk[1:], sides, strict=False)
        ]
        # All pixels after the pool: 16 x 16 x 32, 8 x 8 x 64, 4 x 4 x 128, 2 x 2 x 256.
        heads = [10 * 8192, 10 * 4096, 10 * 2048, 10 * 1024, 1024 * 128 + 128 * 10]
        biases = [10, 10, 10, 10, 138]
        for index, (head, bias) in enumerate(zip(heads, biases, strict=True)):
            convs, submodel = 2 * index + 2, network.submodel(index)
            self.assertEqual(cost.parameters(submodel), sum(weights[:convs]) + head + bias)
            self.assertEqual(cost.multiply_adds(submodel), sum(products[:convs]) + head)
        self.assertEqual(cost.parameters(network.submodel(4)), COUNTS[10, 10][0])
        self.assertEqual(cost.parameters(network), sum(weights) + sum(heads) + sum(biases))

    def test_any_layout(self):
        network = models.PlainCNN(num_classes=3, image_size=4, layout="8 M 4 FC5 FC6", exits=(1,))
        self.assertEqual(network.submodel_names, ("layers_1", "layers_2"))
        shapes = {w.path: tuple(w.shape) for w in network.trainable_weights if "kernel" in w.path}
        self.assertEqual(
            shapes,
            {
                "conv_1/kernel": (3, 3, 3, 8),
                "exit_1_logits/kernel": (2 * 2 * 8, 3),
                "conv_2/kernel": (3, 3, 8, 4),
                "dense_1/kernel": (2 * 2 * 4, 5),
                "dense_2/kernel": (5, 6),
                "logits/kernel": (6, 3),
            },
        )

    @parameterized.parameters(
        ({"depth": 3}, "2, 4, 6, 8 or 10 convolutions.*depth=3"),
        ({"layout": "M 16"}, "such as 16 16 M 32 M FC64.*'M 16'"),
        ({"layout": "16 FC10 16"}, "such as 16 16 M 32 M FC64.*'16 FC10 16'"),
        ({"image_size": 8}, r"at least 16 pixels.*image_size=\(8, 8\)"),
        ({"exits": (4, 2)}, "below the network's 10, ascending.*\\(4, 2\\)"),
        ({"exits": (0,)}, "ascending.*\\(0,\\)"),
        ({"exits": (10,)}, "ascending.*\\(10,\\)"),
        ({"exits": (2.5,)}, "ascending.*\\(2.5,\\)"),
    )
    def test_bad_settings_are_named(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            models.PlainCNN(**arguments)
