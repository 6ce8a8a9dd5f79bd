"""Each private name of Keras and TensorFlow still exists, is still called, still means the same."""

import json
import os
import subprocess
import sys
import unittest.mock

import keras
import numpy as np
import pytest
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
        """What `shared_norm.estimate_statistics` sets."""
        norm = keras.layers.BatchNormalization(momentum=0.75)
        norm.build((None, 1))
        norm.momentum = 0.0
        norm(np.array([[0.0], [4.0]], "float32"), training=True)
        self.assertAllClose(norm.moving_mean, [2.0])


def linear(**arguments):
    """A compiled `Trainer` of one weight vector, from 0, whose loss is the mean of its answers."""

    class Linear(keras_hooks.Trainer):
        calls = 0

        def __init__(self):
            super().__init__()
            self.layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
            self.layer.build([None, 2])
            self.built = True

        def call(self, images):
            return self.layer(images)

        def _maybe_symbolic_build(self, *args, **kwargs):
            self.calls += 1
            return super()._maybe_symbolic_build(*args, **kwargs)

        def train_step(self, data):
            (images,) = data if isinstance(data, tuple) else (data,)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(self(images))
            gradients = tape.gradient(loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
            return {"loss": loss}

    model = Linear()
    model.compile(keras.optimizers.SGD(1.0), **arguments)
    return model


class TrainerTest(tf.test.TestCase):
    @pytest.fixture(autouse=True)
    def _strategy(self, mirrored):
        self.strategy = mirrored

    def test_fit_calls_the_symbolic_build_that_we_leave_out(self):
        model = linear()
        model.fit(np.ones([4, 2], "float32"), verbose=0)
        self.assertGreater(model.calls, 0)

    def test_without_it_replicas_may_get_batches_of_different_sizes(self):
        with self.strategy.scope():
            model = linear()
        model.fit(np.ones([3, 2], "float32"), verbose=0)
        self.assertEqual(model.optimizer.iterations.numpy(), 1)


class SeveralHostsTest(tf.test.TestCase):
    """A cluster of one, in a process of its own, for its strategy must come before all else."""

    CODE = """if True:
        import numpy as np, tensorflow as tf
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        from tests.models.test_keras_hooks import linear
        for settings in ({}, {"steps_per_execution": 4}, {"run_eagerly": True}):
            eager = []
            with strategy.scope():
                model = linear(**settings)
            call = model.call
            model.call = lambda *a, **k: (eager.append(tf.executing_eagerly()), call(*a, **k))[1]
            model.fit(np.ones([44, 2], "float32"), batch_size=8, verbose=0)
            steps = int(model.optimizer.iterations.numpy())
            print(steps, model.get_weights()[0].ravel().tolist(), any(eager))
    """

    def test_every_batch_is_a_step(self):
        cluster = {"cluster": {"worker": ["127.0.0.1:0"]}, "task": {"type": "worker", "index": 0}}
        ended = subprocess.run(
            [sys.executable, "-c", self.CODE],
            env={**os.environ, "TF_CONFIG": json.dumps(cluster), "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            timeout=120,
        )
        lines = ended.stdout.splitlines()
        expected = [f"6 [-6.0, -6.0] {eager}" for eager in (False, False, True)]
        self.assertEqual(lines, expected, ended.stderr)


class MonitoredTest(tf.test.TestCase):
    def test_callbacks_find_the_direction(self):
        class Model(keras.Model):
            metrics = [
                keras_hooks.MonitoredMetric(keras.metrics.Mean(name="good"), "up"),
                keras_hooks.MonitoredMetric(keras.metrics.Mean(name="bad"), "down"),
            ]

        for name, operation in (("good", keras.ops.greater), ("bad", keras.ops.less)):
            callback = keras.callbacks.EarlyStopping(f"val_{name}")
            callback.set_model(Model())
            callback.on_train_begin()
            callback._set_monitor_op()
            self.assertIs(callback.monitor_op, operation)

    def test_it_is_still_the_metric(self):
        metric = keras.metrics.Mean(name="good")
        shown = keras_hooks.MonitoredMetric(metric, "up")
        metric.update_state([1.0, 2.0])
        self.assertEqual(shown.name, "good")
        self.assertEqual(float(shown.result()), 1.5)
        self.assertEqual([v.path for v in shown.variables], [v.path for v in metric.variables])
        shown.reset_state()
        self.assertEqual(float(metric.result()), 0.0)


class OptimizerTest(tf.test.TestCase):
    def test_a_loss_scaling_optimizer_has_an_inner_one(self):
        inner = keras.optimizers.SGD(0.5)
        self.assertIs(keras_hooks.inner_optimizer(inner), inner)
        scaling = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
        self.assertIs(keras_hooks.inner_optimizer(scaling), inner)
        scaling.build([keras.Variable([1.0])])
        self.assertEqual(float(scaling.dynamic_scale), 8.0)
        self.assertEqual(float(scaling.scale_loss(2.0)), 16.0)

    def test_averages_lie_beside_the_variables(self):
        variables = [keras.Variable([1.0]), keras.Variable([[2.0, 4.0]])]
        optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5)
        optimizer.apply([tf.ones([1]), tf.ones([1, 2])], variables)
        averages = keras_hooks.moving_averages(keras.optimizers.LossScaleOptimizer(optimizer))
        # Of 0.5 and (1.5, 3.5); Keras's averages begin at the first step's values.
        optimizer.finalize_variable_values(variables)
        for average, variable in zip(averages, variables, strict=True):
            self.assertAllClose(average, variable)
        self.assertAllClose(averages[1], [[1.5, 3.5]])

    def test_a_variable_has_its_number_and_its_storage(self):
        first, second = keras.Variable([1.0]), keras.Variable([2.0])
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.build([first, second])
        self.assertEqual(keras_hooks.variable_index(optimizer, second.value), 1)
        handle = keras_hooks.resource(second)
        self.assertAllEqual(tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32), [2.0])

    def test_update_steps_get_the_variables_of_tensorflow(self):
        class Recording(keras.optimizers.SGD):
            numbers = []

            def update_step(self, gradient, variable, learning_rate):
                self.numbers.append(keras_hooks.variable_index(self, variable))
                self.handles = isinstance(variable, tf.Variable)

        optimizer = Recording(1.0)
        optimizer.apply([tf.ones([1])] * 2, [keras.Variable([1.0]), keras.Variable([2.0])])
        self.assertEqual(optimizer.numbers, [0, 1])
        self.assertTrue(optimizer.handles)
