"""The outputs of an exported file, and weights that several sub-models share."""

import math

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.deployment.export import serving
from tests.deployment.export import networks

FAMILIES = ("msdnet_small", "slimmable_mobilenet_v1_small")


def _submodels(family):
    return [networks.network(family).submodel(index) for index in range(2)]


class ServingTest(tf.test.TestCase, parameterized.TestCase):
    def test_outputs(self):
        submodel = _submodels("slimmable_mobilenet_v1_small")[0]
        images = networks.images()
        outputs = serving.serving_model(submodel)(images)
        logits = submodel(images).numpy().astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        self.assertAllClose(outputs["logits"], logits, rtol=1e-4, atol=1e-4)
        self.assertAllClose(
            outputs["probabilities"], exponentials / exponentials.sum(-1, keepdims=True), atol=1e-5
        )
        self.assertAllEqual(outputs["class_id"], logits.argmax(axis=-1))
        self.assertEqual(outputs["class_id"].dtype, tf.int32)

    def test_of_equal_logits_the_first_class_wins(self):
        image = keras.Input([2, 2, 3])
        flat = keras.layers.Flatten()(image)
        equal = keras.layers.Dense(4, kernel_initializer="zeros", bias_initializer="zeros")(flat)
        outputs = serving.serving_model(keras.Model(image, equal))(networks.images(2, side=2))
        self.assertAllEqual(outputs["class_id"], [0, 0])

    @parameterized.parameters(*FAMILIES)
    def test_shared_weights_are_those_of_the_network(self, family):
        network = networks.network(family)
        models = serving.serving_models(_submodels(family))
        stored = serving.SharedWeights(models).bytes
        separate = sum(networks.weight_bytes(model) for model in models)
        # Folding can only leave fewer than the whole network has.
        self.assertLessEqual(stored, networks.weight_bytes(network))
        self.assertLess(stored, 0.9 * separate)

    def test_private_normalization_is_not_folded_where_kernels_are_shared(self):
        submodels = _submodels("slimmable_mobilenet_v1_small")
        models = serving.serving_models(submodels)
        kernels = sum(math.prod(w.shape) for w in submodels[1].weights if "kernel" in w.path)
        norms = sum(math.prod(w.shape) for m in submodels for w in m.weights if "norm" in w.path)
        dense_bias = 3
        self.assertEqual(serving.SharedWeights(models).bytes, 4 * (kernels + norms + dense_bias))
