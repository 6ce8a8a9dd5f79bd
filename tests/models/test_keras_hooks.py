"""Each private name of Keras and TensorFlow still exists, is still called, still means the same."""

import subprocess
import sys
import unittest.mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.models import keras_hooks


class SetupTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("backend", "jax"), ("image_data_format", "channels_first"), ("floatx", "float64")
    )
    def test_another_setup_is_refused(self, setting, value):
        keras_hooks.check_setup()
        with unittest.mock.patch.object(keras.config, setting, lambda: value):
            with self.assertRaisesRegex(ImportError, f"needs {setting} .*Received.*{value!r}"):
                keras_hooks.check_setup()

    def test_a_backend_that_is_not_installed_is_named(self):
        code = "import os; os.environ['KERAS_BACKEND'] = 'jax'; import ipkd_tf.models"
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertIn("set KERAS_BACKEND=tensorflow", process.stderr)
        self.assertIn("ImportError: ipkd_tf", process.stderr)


class HooksTest(tf.test.TestCase):
    def test_flatten_layers_finds_layers_inside_layers(self):
        inner = keras.layers.Dense(2, name="inner")
        model = keras.Sequential([keras.layers.TimeDistributed(inner), keras.Sequential([inner])])
        self.assertIn(inner, list(keras_hooks.flatten_layers(model)))

    def test_producer_tells_operation_and_output(self):
        x = keras.Input((4,))
        shared = keras.layers.Dense(2)
        shared(x)
        self.assertEqual(keras_hooks.producer(shared(x * 2)), (shared, 0))
        operation, index = keras_hooks.producer(keras.ops.split(x, 2, axis=-1)[1])
        self.assertEqual((type(operation).__name__, index), ("Split", 1))

    def test_load_error_cause_is_what_went_wrong(self):
        config = keras.saving.serialize_keras_object(keras.layers.Dense(2))
        config["config"]["units"] = -1
        with self.assertRaises(TypeError) as raised:
            keras.saving.deserialize_keras_object(config)
        cause = keras_hooks.load_error_cause(raised.exception)
        self.assertRegex(cause, "units.*-1")
        self.assertNotIn("\n", cause)

    def test_keras_meets_a_functional_class_without_arguments(self):
        """What `FlexibleNetwork.__new__` allows for."""
        calls = []

        class Network(keras.Model):
            def __new__(cls, *args, **kwargs):
                calls.append((args, kwargs))
                return super().__new__(cls, *args, **kwargs)

            def __init__(self, size):
                x = keras.Input((size,))
                super().__init__(inputs=x, outputs=x)

        Network(2)
        self.assertIn(((), {}), calls)
        self.assertEqual(calls[0], ((2,), {}))

    def test_keras_moves_the_running_variance_towards_the_biased_one(self):
        """The step that `layers.BatchNormalization` scales."""
        norm = keras.layers.BatchNormalization(momentum=0.75)
        norm(np.array([[0.0], [4.0]], "float32"), training=True)
        self.assertAllClose(norm.moving_variance, [0.75 * 1.0 + 0.25 * 4.0])
        self.assertFalse(norm.renorm)

    def test_keras_looks_up_momentum_at_each_call(self):
        """What `recalibration.estimate_statistics` sets."""
        norm = keras.layers.BatchNormalization(momentum=0.75)
        norm.build((None, 1))
        norm.momentum = 0.0
        norm(np.array([[0.0], [4.0]], "float32"), training=True)
        self.assertAllClose(norm.moving_mean, [2.0])
