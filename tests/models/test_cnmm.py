"""Convolutional neural mixtures: counts, paths, link use, pruning, against enumeration of paths."""

import itertools

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import cnmm, cost
from ipkd_tf.models import cnmm_links as links

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype("uint8")
# K = 3: node 1 takes 0; node 2 takes 0 or 1; node 3 takes 0, 1 or 2.
PI = np.array([[0, 1, 0.5, 0.2], [0, 0, 0.5, 0.3], [0, 0, 0, 0.5], [0, 0, 0, 0]])


def enumerated(pi):
    """Every path from the first to the last node as a tuple of links, with its probability."""
    last = len(pi) - 1
    paths = {}
    for count in range(last):
        for between in itertools.combinations(range(1, last), count):
            nodes = [0, *between, last]
            path = tuple(itertools.pairwise(nodes))
            paths[path] = np.prod([pi[link] for link in path])
    return paths


def small(**arguments):
    keras.utils.set_random_seed(0)
    return models.CNMM(5, 8, channels=(8, 16), nodes=3, **arguments)


class PathsTest(tf.test.TestCase, parameterized.TestCase):
    def test_hand_worked_paths_and_use(self):
        paths = {tuple(j for _, j in path): share for path, share in enumerated(PI).items()}
        self.assertAllClose(paths, {(3,): 0.2, (1, 3): 0.3, (2, 3): 0.25, (1, 2, 3): 0.25})
        expected = {(0, 1): 0.55, (0, 2): 0.25, (1, 2): 0.25, (0, 3): 0.2, (1, 3): 0.3, (2, 3): 0.5}
        self.assertAllClose(links.link_use(PI, 3), expected)

    def test_expected_cost_and_entropy_are_those_of_all_paths(self):
        logits = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
        pi = cnmm._probabilities(logits, links.nested_links(4, 4))
        length = sum(len(path) * share for path, share in enumerated(pi).items())
        entropy = -sum(p * np.log(p) for p in pi[pi > 0])
        self.assertAllClose(links.ExpectedCost(0.3, 0.0)(tf.constant(logits)), 0.3 * length / 4)
        self.assertAllClose(links.ExpectedCost(0.0, 0.2)(tf.constant(logits)), -0.2 * entropy)

    @parameterized.parameters(
        (2.0, ((0, 1), (1, 3))),
        (0.3, ((0, 1), (1, 3))),
        (0.25, ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))),
        (0.0, ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))),
    )
    def test_pruning(self, threshold, kept):
        """Above every use the most probable path is left; 2 -> 3 alone (0.5) leads from nowhere."""
        self.assertEqual(cnmm.prune(PI, threshold), kept)


class NetworkTest(tf.test.TestCase, parameterized.TestCase):
    def test_parameters_and_multiply_adds(self):
        expected = [(119178, 13985024), (168010, 21308672), (241258, 32294144), (338922, 46941440)]
        for classes in (10, 100):
            network = models.from_preset("cnmm", num_classes=classes)
            for name, (parameters, multiply_adds) in zip(
                network.submodel_names, expected, strict=True
            ):
                more = {10: (0, 0), 100: (11610, 11520)}[classes]
                self.assertEqual(
                    tuple(cost.of_submodel(network, name).values()),
                    (parameters + more[0], multiply_adds + more[1]),
                )

    def test_a_certain_choice_is_one_plain_network(self):
        """With one-hot pi the mean pass, the sampled pass and the extracted network are one."""
        network = small()
        for mixer in network._shared.mixers:
            row = np.full((3, 3), -40.0, np.float32)
            row[0, 0] = row[1, 0] = row[2, 1] = 40.0  # 3 takes 1, which takes 0
            mixer.logits.assign(row)
        network.recalibrate("nodes_3", [IMAGES])
        network.recalibrate("above_0.5", [IMAGES])
        plain = network.submodel("above_0.5")
        self.assertEqual(network.resolve("above_0.5").choice, (((0, 1), (1, 3)),) * 2)
        mean = network(IMAGES, training=False)[-1]
        self.assertAllClose(plain(IMAGES), mean, 1e-4, 1e-4)
        sampled, _ = network.train_logits(IMAGES, network.draw(0, 0))
        trained = network(IMAGES, training=True)[-1]
        self.assertAllClose(sampled[-1], trained, 1e-4, 1e-4)
        self.assertLess(plain.count_params(), network.submodel("nodes_3").count_params())

    def test_a_step_trains_one_path_of_each_submodel(self):
        network = small()
        step = tf.function(lambda draw: self._gradients(network, draw))
        used = []
        for number in range(4):
            gradients = step(network.draw(0, number))
            self.assertAllEqual(network.draw(0, number), network.draw(0, tf.constant(number)))
            moved = {
                path.split("/")[0]
                for path, gradient in gradients.items()
                if np.any(gradient.numpy())
            }
            used.append(frozenset(name for name in moved if name.endswith("depthwise")))
            self.assertIn("scale_0_link_0_3_depthwise", moved)  # the only link of nodes_1
            self.assertIn("mix_0", moved)
        self.assertGreater(len(set(used)), 1)
        everything = {w.path.split("/")[0] for w in network.weights if "link" in w.path}
        self.assertLess(len(used[0]), len([n for n in everything if n.endswith("depthwise")]))

    def test_a_step_may_train_the_mean_passes(self):
        network = small(sampled=False)
        self.assertIsNone(network.draw(0, 0))
        logits, more = network.train_logits(IMAGES, None)
        self.assertEqual(more, [])
        self.assertAllClose(logits, network(IMAGES, training=True))
        moved = {
            path.split("/")[0]
            for path, gradient in self._gradients(network, None).items()
            if np.any(gradient.numpy())
        }
        links_of_all = {w.path.split("/")[0] for w in network.trainable_weights if "link" in w.path}
        self.assertEqual(links_of_all - moved, set())

    def _gradients(self, network, draw):
        with tf.GradientTape() as tape:
            logits, _ = network.train_logits(IMAGES, draw)
            loss = tf.add_n([tf.reduce_sum(tf.square(one)) for one in logits])
        gradients = tape.gradient(loss, network.trainable_variables)
        paths = [w.path for w in network.trainable_variables]
        return {path: tf.convert_to_tensor(g) for path, g in zip(paths, gradients, strict=True)}

    def test_refused(self):
        network = small()
        for which in ("nodes_2", "above_0.9"):
            with self.assertRaisesRegex(ValueError, rf"recalibrate\('{which}'.*submodel='{which}'"):
                network.submodel(which)
        with self.assertRaisesRegex(ValueError, "these: nodes_1, nodes_2, nodes_3"):
            network.submodel("above_")
        with self.assertRaisesRegex(ValueError, "at least 0. Received: cost_weight=-1"):
            small(cost_weight=-1)


if __name__ == "__main__":
    tf.test.main()
