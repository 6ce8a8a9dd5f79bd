"""Folded models compute the same; what cannot be folded stays."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.models.folding import fold_batch_normalization
from tests.deployment.export import networks

LAYERS = keras.layers


def _normalizations(model):
    return [layer for layer in model.layers if isinstance(layer, LAYERS.BatchNormalization)]


def _two_convolutions(x):
    return LAYERS.Concatenate()([LAYERS.Conv2D(2, 3)(x), LAYERS.Conv2D(3, 3, use_bias=False)(x)])


def _after_two_uses(x):
    shared = LAYERS.Conv2D(3, 3)(x)
    return shared, LAYERS.BatchNormalization()(shared)


def _read_by_an_operation_too(x):
    convolved = LAYERS.Conv2D(3, 3)(x)
    return keras.ops.abs(convolved) + LAYERS.BatchNormalization()(convolved)


def _called_twice(x):
    convolution = LAYERS.Conv2D(3, 1)
    return LAYERS.BatchNormalization()(convolution(x)) + convolution(x + 1)


def _normalization_called_twice(x):
    norm = LAYERS.BatchNormalization()
    return norm(LAYERS.Conv2D(3, 1)(x)) + norm(LAYERS.Conv2D(3, 1)(x))


FOLDED = {
    "convolution": lambda x: LAYERS.BatchNormalization()(LAYERS.Conv2D(4, 3, use_bias=False)(x)),
    "convolution_with_bias": lambda x: LAYERS.BatchNormalization()(LAYERS.Conv2D(4, 3)(x)),
    "depthwise": lambda x: LAYERS.BatchNormalization()(
        LAYERS.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x)
    ),
    "dense": lambda x: LAYERS.BatchNormalization()(LAYERS.Dense(4)(LAYERS.Flatten()(x))),
    "concatenation": lambda x: LAYERS.BatchNormalization()(_two_convolutions(x)),
    "no_scale": lambda x: LAYERS.BatchNormalization(scale=False)(LAYERS.Conv2D(4, 3)(x)),
    "no_center": lambda x: LAYERS.BatchNormalization(center=False)(LAYERS.Conv2D(4, 3)(x)),
}
KEPT = {
    "activation_between": lambda x: LAYERS.BatchNormalization()(
        LAYERS.Conv2D(4, 3, activation="relu")(x)
    ),
    "after_the_input": lambda x: LAYERS.BatchNormalization()(x),
    "output_of_the_model_too": _after_two_uses,
    "read_by_an_operation_too": _read_by_an_operation_too,
    "called_twice": _called_twice,
    "normalization_called_twice": _normalization_called_twice,
    "concatenated_rows": lambda x: LAYERS.BatchNormalization()(
        LAYERS.Concatenate(axis=1)([LAYERS.Conv2D(3, 3)(x), LAYERS.Conv2D(3, 3)(x)])
    ),
    "concatenated_with_the_input": lambda x: LAYERS.BatchNormalization()(
        LAYERS.Concatenate()([LAYERS.Conv2D(3, 1)(x), x])
    ),
    "other_axis": lambda x: LAYERS.BatchNormalization(axis=1)(LAYERS.Conv2D(3, 3)(x)),
}


class FoldingTest(tf.test.TestCase, parameterized.TestCase):
    def test_numbers_by_hand(self):
        image = keras.Input([1, 1, 1])
        x = LAYERS.Conv2D(1, 1, name="conv")(image)
        model = keras.Model(image, LAYERS.BatchNormalization(epsilon=1.0, name="norm")(x))
        model.get_layer("conv").set_weights([np.full([1, 1, 1, 1], 4.0), np.array([10.0])])
        gamma, beta, mean, variance = 6.0, 5.0, 7.0, 3.0
        model.get_layer("norm").set_weights(np.array([[gamma], [beta], [mean], [variance]]))
        kernel, bias = fold_batch_normalization(model).get_weights()
        # Scale 6 / sqrt(3 + 1) = 3; kernel 4 * 3; bias (10 - 7) * 3 + 5.
        self.assertAllClose(kernel, [[[[12.0]]]])
        self.assertAllClose(bias, [14.0])

    def _model(self, graph):
        image = keras.Input([5, 5, 3])
        model = keras.Model(image, graph(image))
        networks.shake(model)
        return model

    def _assert_same_function(self, model, folded):
        x = np.random.default_rng(2).normal(size=[2, *model.inputs[0].shape[1:]])
        self.assertAllClose(folded(x), model(x, training=False), rtol=1e-5, atol=1e-5)

    @parameterized.named_parameters(FOLDED.items())
    def test_folds(self, graph):
        model = self._model(graph)
        folded = fold_batch_normalization(model)
        self.assertEmpty(_normalizations(folded))
        self._assert_same_function(model, folded)

    @parameterized.named_parameters(KEPT.items())
    def test_keeps(self, graph):
        model = self._model(graph)
        folded = fold_batch_normalization(model)
        self.assertLen(_normalizations(folded), 1)
        self._assert_same_function(model, folded)

    @parameterized.parameters("msdnet_small", "slimmable_mobilenet_v1_small")
    def test_nothing_is_left_of_either_family(self, family):
        network = networks.network(family)
        for index in range(2):
            submodel = network.submodel(index)
            folded = fold_batch_normalization(submodel)
            self.assertNotEmpty(_normalizations(submodel))
            self.assertEmpty(_normalizations(folded))
            logits = network(networks.images())[index]
            self.assertAllClose(folded(networks.images()), logits, rtol=1e-5, atol=1e-5)

    def test_the_model_given_is_left_alone(self):
        model = self._model(FOLDED["convolution"])
        before = model.get_weights()
        fold_batch_normalization(model)
        self.assertLen(_normalizations(model), 1)
        self.assertAllEqual(before[0], model.get_weights()[0])
