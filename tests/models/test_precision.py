"""Products in bfloat16 on a CPU: which ones, what they compute, and where they are refused."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.models import layers, precision
from ipkd_tf.models.slimmable_layers import SlimmableConv2D

LAYERS = {
    "pointwise": lambda dtype: layers.Conv2D(64, 1, dtype=dtype),
    "dense": lambda dtype: layers.Conv2D(16, 3, padding="same", use_bias=False, dtype=dtype),
    "strided": lambda dtype: layers.Conv2D(64, 3, 2, padding="same", dtype=dtype),
    "valid": lambda dtype: layers.Conv2D(64, 3, 2, padding="valid", dtype=dtype),
    "slimmable": lambda dtype: SlimmableConv2D(128, 64, dtype=dtype),
    "slimmable_strided": lambda dtype: SlimmableConv2D(128, 64, 3, 2, dtype=dtype),
}
IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 64)).astype(np.float32)


def run(layer, images, arguments=(), variables=()):
    """The layer's result, the gradients of the sum of its squares, and the operations traced.

    Variables are arguments whose values the trace does not know.
    """
    arguments, variables = dict(arguments), dict(variables)
    layer.build(images.shape)
    initializer = keras.initializers.RandomNormal(seed=1)
    layer.kernel.assign(initializer(layer.kernel.shape))

    @tf.function
    def compute(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            read = {name: tf.add(value, 0) for name, value in variables.items()}
            result = layer(images, **arguments, **read)
            total = tf.reduce_sum(tf.square(result))
        return result, tape.gradient(total, [images, layer.kernel.value])

    operations = compute.get_concrete_function(tf.constant(images)).graph.get_operations()
    result, gradients = compute(tf.constant(images))
    return [result, *gradients], operations


def narrow(operations):
    """The sorted types of the products that compute in bfloat16, each as often as it does."""
    products = [op for op in operations if op.type.startswith(("Conv2D", "MatMul"))]
    return sorted(op.type for op in products if op.get_attr("T") == tf.bfloat16)


class ProductsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*LAYERS)
    def test_values_and_gradients_are_those_of_float32_but_for_rounding(self, kind):
        arguments = {"filters": 64} if "slimmable" in kind else {}
        exact, operations = run(LAYERS[kind]("float32"), IMAGES, arguments)
        self.assertEmpty(narrow(operations))
        rounded, operations = run(LAYERS[kind](precision.Bfloat16Products()), IMAGES, arguments)
        wide_filter = ["Conv2D", "Conv2DBackpropInput"]
        self.assertEqual(
            narrow(operations),
            ["MatMul"] * 3
            if kind in ("pointwise", "slimmable")
            else ["Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput"]
            if kind == "dense"
            else wide_filter,
        )
        for ours, expected in zip(rounded, exact, strict=True):
            self.assertEqual(ours.dtype, tf.float32)
            error = np.linalg.norm(ours - expected) / np.linalg.norm(expected)
            self.assertLess(error, 0.005)  # a bfloat16 has 8 bits
        self.assertNotAllEqual(rounded[0], exact[0])

    def test_numbers_of_8_bits_are_exact(self):
        images = np.random.default_rng(0).integers(-8, 8, (2, 4, 4, 64)).astype(np.float32)
        layer = layers.Conv2D(64, 1, use_bias=False, dtype=precision.Bfloat16Products())
        layer.build(images.shape)
        kernel = np.eye(64) + np.eye(64, k=1)
        layer.kernel.assign(kernel[None, None])
        self.assertAllEqual(layer(images), images @ kernel)

    def test_a_width_that_is_a_tensor_is_judged_by_the_widest(self):
        conv = SlimmableConv2D(64, 64, dtype=precision.Bfloat16Products())
        exact = SlimmableConv2D(64, 64)
        (ours, *_), operations = run(conv, IMAGES, variables={"filters": tf.Variable(8)})
        self.assertEqual(narrow(operations), ["MatMul"] * 3)
        (expected, *_), _ = run(exact, IMAGES, {"filters": 8})
        self.assertAllClose(ours, expected, atol=0.02)

    @parameterized.parameters(
        # multiply-adds for each pixel of the result / (numbers read + written for it)
        ((1, 52, 52), True),  # 52 * 52 / (52 + 52) = 26
        ((1, 51, 51), False),
        ((9, 3, 32), False),  # 9 * 3 * 32 / (3 + 32) = 24.7
        ((9, 6, 6), True),  # 27
        ((9, 6, 6, 2), False),  # 324 / (4 * 6 + 6) = 10.8
        ((9, 16, 32, 2), True),  # 48
    )
    def test_only_products_with_many_multiply_adds_for_each_number(self, shape, expected):
        self.assertEqual(precision.gains(precision.Bfloat16Products(), *shape), expected)
        self.assertFalse(precision.gains(keras.DTypePolicy("float32"), *shape))
        self.assertFalse(precision.gains(keras.DTypePolicy("mixed_bfloat16"), *shape))

    def test_a_convolution_out_of_the_ordinary_is_left_to_keras(self):
        arguments = {"padding": "same", "dtype": precision.Bfloat16Products()}
        for unusual in ({"groups": 2}, {"dilation_rate": 2}, {"strides": (1, 2)}):
            _, operations = run(layers.Conv2D(64, 3, **unusual, **arguments), IMAGES)
            self.assertEmpty(narrow(operations), unusual)


class PolicyTest(tf.test.TestCase, parameterized.TestCase):
    def machine(self, gpus=0, cpu=False):
        for name, value in (("_has_accelerator", bool(gpus)), ("_cpu_has_bfloat16", cpu)):
            patch = mock.patch.object(precision, name, return_value=value)
            self.enter_context(patch)

    def test_a_cpu_with_bfloat16_computes_products_in_it(self):
        self.machine(cpu=True)
        policy = precision.policy("mixed_bfloat16")
        self.assertIsInstance(policy, precision.Bfloat16Products)
        self.assertEqual((policy.compute_dtype, policy.variable_dtype), ("float32", "float32"))

    def test_an_accelerator_has_keras_policy(self):
        self.machine(gpus=1)
        policy = precision.policy("mixed_bfloat16")
        self.assertEqual(policy, keras.DTypePolicy("mixed_bfloat16"))

    def test_a_cpu_without_refuses(self):
        self.machine()
        with self.assertRaisesRegex(ValueError, "AVX512-BF16.*Received: precision='mixed_bf"):
            precision.policy("mixed_bfloat16")
        self.assertFalse(precision.is_available("mixed_bfloat16"))
        for name in ("float32", "mixed_float16"):
            self.assertEqual(precision.policy(name), keras.DTypePolicy(name))

    @parameterized.parameters(
        ("flags : fpu avx512f avx512_bf16 clzero", True),
        ("flags : fpu amx_bf16 amx_tile", True),
        ("flags : fpu avx2 avx512f avx512_vnni", False),
    )
    def test_what_the_processor_says(self, text, expected):
        path = self.create_tempfile(content=text).full_path
        with mock.patch.object(precision, "CPU_FLAGS", path):
            self.assertEqual(precision._cpu_has_bfloat16(), expected)
        with mock.patch.object(precision, "CPU_FLAGS", path + ".absent"):
            self.assertFalse(precision._cpu_has_bfloat16())

    def test_a_saved_layer_is_one_of_float32(self):
        layer = layers.Conv2D(64, 1, dtype=precision.Bfloat16Products())
        again = keras.layers.deserialize(keras.layers.serialize(layer))
        self.assertEqual(again.dtype_policy, keras.DTypePolicy("float32"))
