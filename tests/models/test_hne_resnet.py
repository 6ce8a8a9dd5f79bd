"""The hierarchical ensemble: counts, the tree, the averages, and what each loss teaches."""

import functools
import re

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.distillation import losses
from ipkd_tf.distillation.distiller import InplaceDistiller
from ipkd_tf.models import cost, hne_resnet, stages

# Of the first m leaves, at 100 classes.
COUNTS = {
    "leaves_1": (107_524, 31_947_008),
    "leaves_2": (132_328, 33_075_712),
    "leaves_3": (175_436, 35_326_720),
    "leaves_4": (200_240, 36_455_424),
    "leaves_8": (358_592, 45_385_728),
}


@functools.cache
def _small():
    """A tree of 4 leaves for 8 x 8 images of 3 classes; do not change it."""
    keras.utils.set_random_seed(0)
    return models.HNEResNet(3, image_size=8, stem=8, levels=((8, 1), (12, 2), (12, 1)), units=1)


def _images():
    return np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype("uint8")


def _nodes(model):
    """How many nodes of each level a model has."""
    names = {re.match(r"level_(\d+)_node_\d+", layer.name) for layer in model.layers} - {None}
    names = {match[0]: match[1] for match in names}
    return [list(names.values()).count(level) for level in sorted(set(names.values()))]


class CountsTest(tf.test.TestCase):
    def test_the_papers_size_has_the_counts_worked_out_for_it(self):
        network = models.from_preset("hne_resnet", num_classes=100)
        self.assertEqual(
            network.submodel_names, ("leaves_1", "leaves_2", "leaves_4", "leaves_8", "leaves_16")
        )
        nodes = {"leaves_3": [1, 1, 1, 2, 3], "leaves_8": [1, 1, 2, 4, 8]}
        for name, counts in COUNTS.items():
            submodel = network.submodel(name)
            self.assertEqual(
                (cost.parameters(submodel), cost.multiply_adds(submodel)), counts, name
            )
            if name in nodes:
                self.assertEqual(_nodes(submodel), nodes[name])
        self.assertEqual(cost.parameters(network), 697_824)
        self.assertEqual(cost.multiply_adds(network), 71_929_856)
        self.assertEqual(cost.parameters(models.from_preset("hne_resnet")), 604_224)


class TreeTest(tf.test.TestCase, parameterized.TestCase):
    def test_two_leaves_share_all_levels_but_the_last(self):
        network = _small()
        self.assertEqual(_nodes(network), [1, 2, 4])
        self.assertEqual(_nodes(network.submodel("leaves_1")), [1, 1, 1])
        self.assertEqual(_nodes(network.submodel("leaves_2")), [1, 1, 2])
        self.assertEqual(_nodes(network.submodel("leaves_3")), [1, 2, 3])

    def test_a_submodel_is_the_average_of_its_leaves(self):
        network = _small()
        model = keras.Model(
            network.input, [network.get_layer(f"leaf_{j}_logits").output for j in range(1, 5)]
        )
        leaves = np.stack(model(_images(), training=False))
        for m in (1, 2, 3, 4):
            logits = network.submodel(f"leaves_{m}")(_images(), training=False)
            self.assertAllClose(logits, leaves[:m].mean(0), 1e-5, 1e-6)
        self.assertEqual(network.submodel("leaves_3").name, "leaves_3")

    def test_siblings_start_different(self):
        kernels = [_small().get_layer(f"level_3_node_{j}_unit_1_expand").kernel for j in (1, 2)]
        self.assertNotAllClose(*kernels)

    def test_a_level_is_one_grouped_convolution(self):
        network = _small()
        names = [f"level_3_node_{j}_unit_1_expand" for j in range(1, 5)]
        convs = [network.get_layer(name) for name in names]
        grouped = keras.layers.Conv2D(4 * 12, 1, groups=4, use_bias=False)
        parts = np.random.default_rng(0).normal(size=(4, 2, 4, 4, 12)).astype("float32")
        # Both children read their parent: [a, a, b, b].
        parts[1], parts[3] = parts[0], parts[2]
        images = np.concatenate(parts, -1)
        grouped.build(images.shape)
        grouped.kernel.assign(np.concatenate([conv.kernel for conv in convs], -1))
        split = [conv(part) for conv, part in zip(convs, parts, strict=True)]
        self.assertAllClose(grouped(images), np.concatenate(split, -1), 1e-5, 1e-6)

    @parameterized.parameters("leaves_0", "leaves_5", "leaves_03", "leaves")
    def test_other_numbers_of_leaves_are_refused(self, name):
        with self.assertRaisesRegex(ValueError, "leaves_1, leaves_2, leaves_4.*Received: .*leaves"):
            _small().submodel(name)

    @parameterized.parameters(
        ({"levels": ((8, 1, 1),)}, "\\(channels, stride\\) of each level.*levels="),
        ({"levels": ()}, "\\(channels, stride\\) of each level.*levels="),
        ({"levels": ((8, 0),)}, "positive whole numbers.*levels="),
        ({"average": "votes"}, "logits, probabilities.*'votes'"),
        ({"leaf_weight": -1.0}, "0 or more.*leaf_weight=-1.0"),
    )
    def test_bad_settings_are_named(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            models.HNEResNet(**arguments)


class AverageTest(tf.test.TestCase):
    def test_logits_and_probabilities_are_averaged_differently(self):
        leaves = [tf.constant([[4.0, 0.0]]), tf.constant([[0.0, 2.0]])]
        for average, share in (("logits", 0.731059), ("probabilities", 0.550605)):
            single, both = hne_resnet._averages(leaves, [1, 2], average)
            self.assertAllClose(tf.nn.softmax(both)[0, 0], share, 1e-5)
            self.assertAllClose(tf.nn.softmax(single)[0, 0], 0.982014, 1e-5)
        # These logits are logarithms of probabilities already.
        self.assertAllClose(tf.reduce_sum(tf.exp(both)), 1.0)


class TrainingTest(tf.test.TestCase):
    def test_auxiliary_logits_are_those_of_the_further_leaves(self):
        network = _small()
        logits, leaves = network.train_logits(_images(), network.draw(0, tf.constant(0)))
        self.assertLen(logits, 3)
        self.assertLen(leaves, 3)
        self.assertAllClose(logits[1], (logits[0] + leaves[0]) / 2, 1e-5, 1e-6)
        self.assertAllClose(logits[2], (logits[0] + sum(leaves)) / 4, 1e-5, 1e-6)

    def test_a_steps_loss_adds_those_of_the_further_leaves_by_their_weight(self):
        labels, losses_of = np.array([0, 1, 2, 0]), {}
        for weight in (0.0, 0.5):
            keras.utils.set_random_seed(0)
            network = models.HNEResNet(3, 8, stem=8, levels=((8, 1), (8, 2)), leaf_weight=weight)
            _, (leaf,) = network.train_logits(_images())
            distiller = InplaceDistiller(network, "none")
            distiller.compile(optimizer=keras.optimizers.SGD(0.0))
            losses_of[weight] = distiller.train_on_batch(_images(), labels, return_dict=True)
        own = keras.losses.sparse_categorical_crossentropy(labels, leaf, True)
        added = losses_of[0.5]["hard_loss"] - losses_of[0.0]["hard_loss"]
        self.assertAllClose(added, 0.5 * np.mean(own), 1e-4)

    def test_the_last_leaf_learns_from_the_labels_only(self):
        network = _small()
        labels = np.array([0, 1, 2, 0])
        last = network.get_layer("leaf_4_logits").kernel.value
        with tf.GradientTape(persistent=True) as tape:
            logits, leaves = network.train_logits(_images())
            _, soft = losses.per_example_losses(labels, logits, "ipkd", 0.5, 2.0, "kl")
            hard = keras.losses.sparse_categorical_crossentropy(labels, leaves[-1], True)
        taught = tape.gradient(soft, last)
        # The teacher is detached, and no smaller sub-model holds the last leaf.
        self.assertTrue(taught is None or not np.any(taught))
        self.assertGreater(np.max(np.abs(tape.gradient(hard, last))), 0.0)
        trunk = network.get_layer("level_1_node_1_unit_1_expand").kernel.value
        self.assertGreater(np.max(np.abs(tape.gradient(soft, trunk))), 0.0)


class EarlyExitTest(tf.test.TestCase):
    def test_leaves_are_added_and_each_node_is_computed_once(self):
        network = _small()
        parts, tensors = stages.partition(network), {stages.IMAGE: tf.constant(_images())}
        computed, total = [], 0
        for stage, expected in zip(parts, network(_images(), training=False), strict=True):
            pieces = [piece.model for piece in (stage.body, stage.head) if piece]
            computed += [layer.name for model in pieces for layer in model.layers if layer.weights]
            total += sum(map(cost.multiply_adds, pieces))
            self.assertEqual(total, cost.multiply_adds(network.submodel(stage.name)), stage.name)
            logits, tensors = stage.run(tensors)
            self.assertAllClose(logits, expected, 1e-5, 1e-6)
        self.assertCountEqual(computed, [layer.name for layer in network.layers if layer.weights])
