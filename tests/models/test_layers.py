"""Layers against numpy formulas and Keras's own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import layers, slimmable_layers


def _images(shape=(4, 5, 5, 3), seed=0):
    return np.random.default_rng(seed).normal(2.0, 3.0, shape).astype("float32")


def _normalized(x, gamma, beta, epsilon=1e-5):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + epsilon) * gamma + beta


def _built(shape, make=layers.BatchNormalization, **arguments):
    norm = make(**arguments)
    norm.build(shape)
    norm.gamma.assign([0.5, 1.5, -2.0])
    norm.beta.assign([1.0, 0.0, -1.0])
    return norm


class BatchNormalizationTest(tf.test.TestCase, parameterized.TestCase):
    @pytest.fixture(autouse=True)
    def _strategy(self, mirrored):
        self.strategy = mirrored

    @parameterized.parameters((4, 5, 5, 3), (20, 3))
    def test_training_normalises_the_batch_and_keeps_the_unbiased_variance(self, *shape):
        x, norm = _images(shape), _built(shape)
        self.assertAllClose(norm(x, training=True), _normalized(x, norm.gamma, norm.beta), 1e-4)
        axes = tuple(range(x.ndim - 1))
        self.assertAllClose(norm.moving_mean, 0.1 * x.mean(axes), 1e-5)
        self.assertAllClose(norm.moving_variance, 0.9 + 0.1 * x.var(axes, ddof=1), 1e-5)

    @parameterized.parameters((4, 5, 5, 3), (20, 3))
    def test_inference_uses_the_running_statistics(self, *shape):
        x, norm = _images(shape), _built(shape)
        norm.moving_mean.assign([1.0, 2.0, 3.0])
        norm.moving_variance.assign([4.0, 1.0, 0.25])
        expected = (x - [1, 2, 3]) / np.sqrt(np.array([4, 1, 0.25]) + 1e-5) * norm.gamma + norm.beta
        self.assertAllClose(norm(x, training=False), expected, 1e-4)
        self.assertAllEqual(norm.moving_mean, [1.0, 2.0, 3.0])

    def test_a_frozen_layer_uses_and_keeps_the_running_statistics(self):
        x, norm = _images(), _built((4, 5, 5, 3))
        norm.trainable = False
        self.assertAllClose(norm(x, training=True), norm(x, training=False))
        self.assertAllEqual(norm.moving_mean, [0.0, 0.0, 0.0])

    def test_gradients_equal_those_of_the_unfused_layer(self):
        x, upstream = tf.constant(_images()), tf.constant(_images(seed=1))
        results = []
        for make in (layers.BatchNormalization, keras.layers.BatchNormalization):
            norm = _built(x.shape, make, epsilon=1e-5)
            variables = [norm.gamma.value, norm.beta.value]
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(norm(x, training=True) * upstream)
            results.append(tape.gradient(loss, [x, *variables]))
        for ours, keras_own in zip(*results, strict=True):
            self.assertAllClose(ours, keras_own, 1e-3, 1e-4)

    @parameterized.parameters("mixed_float16", "mixed_bfloat16")
    def test_mixed_precision_stays_in_half_precision_with_float32_statistics(self, policy):
        x, norm = _images(), _built((4, 5, 5, 3), dtype=policy)
        outputs = norm(x, training=True)
        self.assertEqual(outputs.dtype, policy.removeprefix("mixed_"))
        self.assertEqual(norm.moving_variance.dtype, "float32")
        expected = _normalized(x, norm.gamma, norm.beta)
        self.assertAllClose(tf.cast(outputs, tf.float32), expected, rtol=0.05, atol=0.05)

    def test_synchronized_statistics_are_those_of_the_global_batch(self):
        x = _images((8, 5, 5, 3))
        with self.strategy.scope():
            norm = _built(x.shape, synchronized=True)
        halves = iter([x[:4], x[4:]])
        batches = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(next(halves))
        )
        outputs = self.strategy.run(tf.function(lambda b: norm(b, training=True)), (batches,))
        joined = np.concatenate(
            [o.numpy() for o in self.strategy.experimental_local_results(outputs)]
        )
        self.assertAllClose(joined, _normalized(x, norm.gamma.numpy(), norm.beta.numpy()), 1e-4)
        self.assertAllClose(
            norm.moving_variance.numpy(), 0.9 + 0.1 * x.var((0, 1, 2), ddof=1), 1e-5
        )

    def test_config_round_trip(self):
        norm = layers.BatchNormalization(momentum=0.8, name="norm")
        again = keras.layers.deserialize(keras.layers.serialize(norm))
        self.assertIsInstance(again, layers.BatchNormalization)
        self.assertEqual((again.momentum, again.epsilon, again.name), (0.8, 1e-5, "norm"))


class Conv2DTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ({"filters": 5, "kernel_size": 1},),
        ({"filters": 5, "kernel_size": 1, "activation": "relu", "use_bias": False},),
        ({"filters": 5, "kernel_size": 1, "strides": 2},),
        ({"filters": 6, "kernel_size": 1, "groups": 3},),
        ({"filters": 5, "kernel_size": 3, "padding": "same", "strides": 2},),
    )
    def test_outputs_and_gradients_are_those_of_keras(self, arguments):
        x = _images((2, 6, 6, 3))
        plain, ours = keras.layers.Conv2D(**arguments), layers.Conv2D(**arguments)
        expected = _outputs_and_gradients(plain, x)
        ours.build(x.shape)
        ours.set_weights(plain.get_weights())
        self.assertAllClose(_outputs_and_gradients(ours, x), expected, 1e-4, 1e-4)

    @parameterized.parameters((1, "MatMul"), (3, "Conv2D"))
    def test_only_a_pointwise_one_is_a_matrix_product(self, kernel_size, product):
        conv = layers.Conv2D(5, kernel_size)
        graph = tf.function(conv).get_concrete_function(tf.TensorSpec((2, 6, 6, 3))).graph
        types = [operation.type for operation in graph.get_operations()]
        self.assertEqual([t for t in types if t in ("MatMul", "Conv2D")], [product])

    def test_config_round_trip(self):
        again = keras.layers.deserialize(keras.layers.serialize(layers.Conv2D(4, 1, name="conv")))
        self.assertIsInstance(again, layers.Conv2D)
        self.assertEqual((again.filters, again.kernel_size, again.name), (4, (1, 1), "conv"))


def _outputs_and_gradients(layer, x, owner=None):
    """A layer's outputs, and the gradients of their weighted sum: into inputs, into weights."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x)
        weighted = tf.reduce_sum(outputs * _images(outputs.shape, seed=1))
    weights = (owner or layer).trainable_variables
    return outputs, tape.gradient(weighted, [x, *weights])


def _placed(values, shape):
    """Values in the leading corner of an array of zeros."""
    placed = np.zeros(shape, "float32")
    placed[tuple(slice(side) for side in values.shape)] = values
    return placed


class SlimmableLayersTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(kernel_size=[1, 3], strides=[1, 2], filters=[4, 6])
    def test_convolution_is_that_of_the_leading_slice(self, kernel_size, strides, filters):
        wide = slimmable_layers.SlimmableConv2D(5, 6, kernel_size, strides)
        plain = keras.layers.Conv2D(filters, kernel_size, strides, "same", use_bias=False)
        x = _images((2, 6, 6, 3))
        expected, (into_inputs, into_kernel) = _outputs_and_gradients(plain, x)
        wide.build(None)
        wide.kernel.assign(_placed(plain.kernel, wide.kernel.shape))
        outputs, gradients = _outputs_and_gradients(lambda x: wide(x, filters=filters), x, wide)
        self.assertAllClose(outputs, expected, 1e-4, 1e-4)
        self.assertAllClose(gradients[0], into_inputs, 1e-4, 1e-4)
        self.assertAllClose(gradients[1], _placed(into_kernel, wide.kernel.shape), 1e-4, 1e-4)

    @parameterized.product(strides=[1, 2], height=[1, 2, 5, 6], width=[2, 6])
    def test_depthwise_convolution_is_that_of_the_leading_channels(self, strides, height, width):
        wide = slimmable_layers.SlimmableDepthwiseConv2D(5, 3, strides)
        plain = keras.layers.DepthwiseConv2D(3, strides, "same", use_bias=False)
        x = _images((2, height, width, 3))
        expected, (into_inputs, into_kernel) = _outputs_and_gradients(plain, x)
        wide.build(None)
        wide.kernel.assign(_placed(plain.kernel, wide.kernel.shape))
        outputs, gradients = _outputs_and_gradients(wide, x)
        self.assertAllClose(outputs, expected, 1e-4, 1e-4)
        self.assertAllClose(gradients[0], into_inputs, 1e-4, 1e-4)
        self.assertAllClose(gradients[1], _placed(into_kernel, wide.kernel.shape), 1e-4, 1e-4)

    def test_depthwise_convolution_of_images_of_any_size(self):
        images = keras.Input((None, None, 3))
        model = keras.Model(images, slimmable_layers.SlimmableDepthwiseConv2D(5)(images))
        self.assertEqual(model(_images((1, 4, 7, 3))).shape, (1, 4, 7, 3))

    def test_dense_uses_the_leading_rows_and_all_units(self):
        dense = slimmable_layers.SlimmableDense(3, 2)
        dense.build((None, 3))
        dense.kernel.assign([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        dense.bias.assign([10.0, 20.0])
        self.assertAllClose(dense(np.array([[1.0, 1.0]], "float32")), [[14.0, 26.0]])
        self.assertAllClose(dense(np.array([[1.0, 1.0, 1.0]], "float32")), [[19.0, 32.0]])

    def test_a_narrow_call_leaves_the_rest_of_the_kernel_without_gradient(self):
        conv = slimmable_layers.SlimmableConv2D(4, 4, 1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(conv(_images((1, 2, 2, 2)), filters=3))
        gradient = tape.gradient(loss, conv.kernel.value).numpy()[0, 0]
        self.assertAllEqual(gradient[2:], np.zeros((2, 4)))
        self.assertAllEqual(gradient[:, 3:], np.zeros((4, 1)))
        self.assertTrue(np.all(gradient[:2, :3] != 0))


def _padded_as_pytorch_pads(model):
    """The same weights, kernels turned, on images as they are, each 3 x 3 padded by 1 all round."""

    def clone(operation):
        config = operation.get_config()
        if getattr(operation, "kernel_size", None) == (3, 3):
            config["padding"] = "valid"
        return type(operation).from_config(config)

    def call(operation, *args, **kwargs):
        if type(operation).__name__ == "Flip":
            return args[0]
        if getattr(operation, "kernel_size", None) == (3, 3):
            args = [keras.layers.ZeroPadding2D(1)(args[0])]
        return operation(*args, **kwargs)

    padded = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.weights:
            turned = [w[::-1, ::-1] if w.ndim == 4 else w for w in layer.get_weights()]
            padded.get_layer(layer.name).set_weights(turned)
    return padded


class PrepareImagesTest(tf.test.TestCase, parameterized.TestCase):
    def test_pixels_are_normalised_and_the_image_turned(self):
        image = np.zeros((1, 2, 2, 3), "uint8")
        image[0, 0, 1] = 255
        prepared = layers.prepare_images(image, (0.5, 0.5, 0.0), (0.25, 0.5, 1.0))
        self.assertAllClose(prepared[0, 1, 0], [2.0, 1.0, 1.0])
        for row, column in ((0, 0), (0, 1), (1, 1)):
            self.assertAllClose(prepared[0, row, column], [-2.0, -1.0, 0.0])

    @parameterized.product(
        family=["msdnet_small", "slimmable_mobilenet_v1_small"], image_size=[16, 17, 18]
    )
    def test_a_network_is_the_reference_with_turned_kernels(self, family, image_size):
        network = models.from_preset(family, image_size=image_size)
        images = np.random.default_rng(0).integers(0, 256, (4, image_size, image_size, 3), "uint8")
        for index in range(len(network.submodel_names)):
            submodel = network.submodel(index)
            reference = _padded_as_pytorch_pads(submodel)
            # In training mode, lest an untrained network's logits vanish.
            logits, expected = submodel(images, training=True), reference(images, training=True)
            self.assertAllClose(logits, expected, 1e-3, 1e-4)
            # The tolerance would show images that are turned the other way.
            flipped = submodel(images[:, ::-1], training=True)
            self.assertNotAllClose(flipped, expected, 1e-3, 1e-4)
