"""What every family of flexible networks promises, checked for ours and for one made here."""

import os

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models

FAMILIES = {
    "msdnet": ("msdnet_small", {"image_size": 16}),
    "msdnet_min": ("msdnet_small", {"image_size": 16, "prune": "min", "step_mode": "lin_grow"}),
    "slimmable_mobilenet_v1": ("slimmable_mobilenet_v1_small", {"image_size": 16}),
    "own": ("tests.models.two_exits:TwoExits", {"image_size": 16}),
}


def _images(batch=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, 16, 16, 3)).astype("uint8")


def _trained_looking(family):
    """A network whose statistics and weights are not the initial ones, so that a mix-up shows."""
    name, arguments = FAMILIES[family]
    keras.utils.set_random_seed(1)
    network = models.from_preset(name, num_classes=5, **arguments)
    network(_images(64).astype("float32"), training=True)
    for number, weight in enumerate(network.weights):
        if "gamma" in weight.path or "beta" in weight.path:
            noise = np.random.default_rng(number).uniform(0.8, 1.2, weight.shape)
            weight.assign(weight * noise + 0.05 * (noise - 1))
    return network


class FamilyContractTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*FAMILIES)
    def test_contract(self, family):
        network = _trained_looking(family)
        logits = [a.numpy() for a in network(_images(), training=False)]
        with self.subTest("one output of logits per named sub-model"):
            self.assertLen(network.submodel_names, len(logits))
            self.assertLen(set(network.submodel_names), len(logits))
            self.assertEqual({a.shape for a in logits}, {(4, 5)})
        with self.subTest("uint8 and float images mean the same"):
            for a, b in zip(logits, network(_images().astype("float32")), strict=True):
                self.assertAllClose(a, b, 1e-6)
        with self.subTest("sub-models"):
            self._check_submodels(network, logits)
        with self.subTest("save and load"):
            self._check_saving(network, logits)
        with self.subTest("clone_model"):
            self._check_clone(network)
        with self.subTest("summary"):
            lines = []
            network.summary(print_fn=lines.append)
            self.assertIn("Total params", "\n".join(lines))

    def _check_submodels(self, network, logits):
        for index, expected in enumerate(logits):
            submodel = network.submodel(index)
            self.assertAllClose(submodel(_images(), training=False), expected, 1e-4, 1e-5)
            self.assertLessEqual(submodel.count_params(), network.count_params())
            self._check_every_weight_is_used(submodel)
        self.assertAllClose(network.submodel(-1)(_images()), logits[-1], 1e-4, 1e-5)
        with self.assertRaisesRegex(IndexError, "from 0 to .*Received: submodel=9"):
            network.submodel(9)
        small = network.submodel(0)
        small.set_weights([np.zeros_like(w) for w in small.get_weights()])
        self.assertAllEqual(network(_images(), training=False)[0], logits[0])

    def _check_every_weight_is_used(self, model):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(_images(), training=True)[:, 0])
        gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
        unused = [
            w.path for w, g in zip(model.trainable_weights, gradients, strict=True) if g is None
        ]
        self.assertEmpty(unused)

    def _check_saving(self, network, logits):
        path = os.path.join(self.get_temp_dir(), "network.keras")
        network.save(path)
        loaded = keras.models.load_model(path)
        self.assertIsInstance(loaded, type(network))
        self.assertEqual(loaded.submodel_names, network.submodel_names)
        self.assertEqual(loaded.get_config(), network.get_config())
        for a, b in zip(logits, loaded(_images(), training=False), strict=True):
            self.assertAllEqual(a, b)

    def _check_clone(self, network):
        clone = keras.models.clone_model(network)
        clone.set_weights(network.get_weights())
        outputs = zip(clone(_images(), training=False), network(_images()), strict=True)
        for a, b in outputs:
            self.assertAllEqual(a, b)


class PlainSubmodelTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("msdnet", "slimmable_mobilenet_v1")
    def test_a_submodel_needs_no_class_of_this_package(self, family):
        submodel = _trained_looking(family).submodel(1)
        owners = {type(operation).__module__.partition(".")[0] for operation in submodel.operations}
        self.assertEqual(owners, {"keras"})
        path = os.path.join(self.get_temp_dir(), "submodel.keras")
        submodel.save(path)
        loaded = keras.models.load_model(path)
        self.assertAllEqual(loaded(_images()), submodel(_images()))
