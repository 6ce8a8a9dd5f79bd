import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.training import optimizers

RULES = {
    "plain": {},
    "decay": {"weight_decay": 0.01},
    "momentum": {"momentum": 0.9},
    "momentum_decay": {"momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "nesterov_decay": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
}


def pytorch_sgd(weight, gradients, learning_rates, momentum=0, nesterov=False, weight_decay=0):
    """torch.optim.SGD with dampening 0, from the algorithm box of its documentation."""
    weight = np.array(weight, np.float64)
    velocity = None
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        gradient = gradient + weight_decay * weight
        if momentum:
            velocity = gradient if velocity is None else momentum * velocity + gradient
            gradient = gradient + momentum * velocity if nesterov else velocity
        weight = weight - learning_rate * gradient
    return weight


def small_model():
    inputs = keras.Input([4])
    hidden = keras.layers.Dense(3, name="hidden")(inputs)
    hidden = keras.layers.BatchNormalization(name="norm")(hidden)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(hidden))


def random_batch(examples=8, seed=0):
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=[examples, 4]).astype(np.float32)
    return inputs, generator.normal(size=[examples, 2]).astype(np.float32)


class RuleTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        generator = np.random.default_rng(0)
        self.start = generator.normal(size=[3, 2]).astype(np.float32)
        self.gradients = generator.normal(size=[20, 3, 2]).astype(np.float32)
        self.learning_rates = [0.1] * 10 + [0.01] * 10

    def train(self, optimizer, path="kernel", drop=True):
        variable = keras.Variable(self.start, name=path)
        optimizer.build([variable])
        apply = tf.function(lambda gradient: optimizer.apply([gradient]))
        for step, gradient in enumerate(self.gradients):
            if drop and step == 10:
                optimizer.learning_rate = 0.01
            apply(tf.constant(gradient))
        return variable.numpy()

    @parameterized.parameters(*RULES)
    def test_twenty_steps_with_a_drop(self, rule):
        expected = pytorch_sgd(self.start, self.gradients, self.learning_rates, **RULES[rule])
        actual = self.train(optimizers.SGD(0.1, **RULES[rule]))
        self.assertAllClose(actual, expected, rtol=0, atol=1e-6)

    def test_two_steps_by_hand(self):
        """From w = 1: g = 0.5 makes v = 0.6, w = 0.94; then g = 0 makes v = 0.394, w = 0.9006."""
        self.start, self.gradients = np.float32([1.0]), np.float32([[0.5], [0.0]])
        optimizer = optimizers.SGD(0.1, momentum=0.5, weight_decay=0.1)
        self.assertAllClose(self.train(optimizer), [0.9006])

    def test_schedule(self):
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([9], [0.1, 0.01])
        optimizer = optimizers.SGD(schedule, **RULES["nesterov_decay"])
        expected = pytorch_sgd(
            self.start, self.gradients, self.learning_rates, **RULES["nesterov_decay"]
        )
        self.assertAllClose(self.train(optimizer, drop=False), expected, rtol=0, atol=1e-6)

    @parameterized.parameters(("gamma", False), ("depthwise_kernel", False), ("kernel", True))
    def test_excluded_variables_do_not_decay(self, path, decays):
        optimizer = optimizers.SGD(
            0.1,
            momentum=0.9,
            weight_decay=0.01,
            exclude_from_weight_decay=["gamma$", "depthwise_kernel"],
        )
        expected = pytorch_sgd(
            self.start, self.gradients, self.learning_rates, 0.9, weight_decay=0.01 * decays
        )
        self.assertAllClose(self.train(optimizer, path), expected, rtol=0, atol=1e-6)

    def test_exclusions_are_searched_in_the_whole_path(self):
        model = small_model()
        optimizer = optimizers.SGD(
            1.0, weight_decay=0.25, exclude_from_weight_decay=["norm/gamma", "^head"]
        )
        for variable in model.trainable_variables:
            variable.assign(tf.ones(variable.shape))
        optimizer.apply(
            [tf.zeros(variable.shape) for variable in model.trainable_variables],
            model.trainable_variables,
        )
        after = {variable.path: variable.numpy().max() for variable in model.trainable_variables}
        self.assertEqual(
            after,
            {
                "hidden/kernel": 0.75,
                "hidden/bias": 0.75,
                "norm/gamma": 1.0,
                "norm/beta": 0.75,
                "head/kernel": 1.0,
                "head/bias": 1.0,
            },
        )

    @parameterized.parameters(
        ({"momentum": 0.9, "weight_decay": 1.0}, [[0.9], [0.9], [0.7]]),
        ({"momentum": 0.9}, [[1.0], [1.0], [0.8]]),
        ({}, [[1.0], [1.0], [0.8]]),
    )
    def test_gradient_of_some_rows(self, settings, expected):
        table = keras.Variable(np.ones([3, 1], np.float32))
        rows = tf.IndexedSlices(tf.ones([2, 1]), tf.constant([2, 2]), tf.constant([3, 1]))
        optimizers.SGD(0.1, **settings).apply([rows], [table])
        self.assertAllClose(table, expected)

    def test_loss_scaling(self):
        variable = keras.Variable(self.start)
        optimizer = keras.optimizers.LossScaleOptimizer(
            optimizers.SGD(0.1, **RULES["nesterov_decay"]), initial_scale=8.0
        )
        for gradient in self.gradients:
            optimizer.apply([tf.constant(8 * gradient)], [variable])
        expected = pytorch_sgd(self.start, self.gradients, [0.1] * 20, **RULES["nesterov_decay"])
        self.assertAllClose(variable, expected, rtol=0, atol=1e-6)

    def test_exponential_moving_average(self):
        variable = keras.Variable(self.start)
        optimizer = optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.5)
        first, second = (
            pytorch_sgd(self.start, self.gradients[:n], [0.1] * n, 0.9) for n in (1, 2)
        )
        for gradient in self.gradients[:2]:
            optimizer.apply([tf.constant(gradient)], [variable])
        optimizer.finalize_variable_values([variable])
        self.assertAllClose(variable, 0.5 * first + 0.5 * second, rtol=0, atol=1e-6)

    def test_compiled_with_xla(self):
        variable = keras.Variable(self.start)
        optimizer = optimizers.SGD(0.1, **RULES["nesterov_decay"])
        optimizer.build([variable])
        apply = tf.function(lambda gradient: optimizer.apply([gradient]), jit_compile=True)
        for gradient in self.gradients:
            apply(tf.constant(gradient))
        expected = pytorch_sgd(self.start, self.gradients, [0.1] * 20, **RULES["nesterov_decay"])
        self.assertAllClose(variable, expected, rtol=0, atol=1e-6)

    def test_velocities_exist_only_with_momentum(self):
        variable = keras.Variable(self.start)
        for momentum, count in ((0.0, 2), (0.9, 3)):
            optimizer = optimizers.SGD(0.1, momentum=momentum)
            optimizer.build([variable])
            # The iteration and the learning rate are variables too.
            self.assertLen(optimizer.variables, count)


class SavingTest(tf.test.TestCase):
    def test_round_trip_of_the_configuration(self):
        optimizer = optimizers.SGD(
            0.2, 0.8, True, 3e-4, exclude_from_weight_decay=("gamma", "bias"), clipnorm=2.0
        )
        copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
        self.assertIsInstance(copy, optimizers.SGD)
        self.assertEqual(copy.get_config(), optimizer.get_config())
        self.assertEqual(copy.coupled_weight_decay, 3e-4)
        self.assertEqual(copy.weight_decay_exclusions, ("gamma", "bias"))
        self.assertIsNone(copy.weight_decay)
        self.assertEqual(copy.clipnorm, 2.0)

    def test_saved_model_continues_as_if_nothing_happened(self):
        model = small_model()
        model.compile(
            optimizers.SGD(
                0.05,
                momentum=0.9,
                nesterov=True,
                weight_decay=0.1,
                exclude_from_weight_decay=["gamma"],
            ),
            loss="mse",
        )
        batch = random_batch()
        model.fit(*batch, epochs=3, verbose=0)
        path = self.create_tempfile("model.keras").full_path
        model.save(path)
        restored = keras.models.load_model(path)
        for one in (model, restored):
            one.fit(*batch, epochs=3, verbose=0)
        for variable, other in zip(model.weights, restored.weights, strict=True):
            self.assertAllEqual(variable, other)


class DistributedTest(tf.test.TestCase):
    @pytest.fixture(autouse=True)
    def _use_the_strategy(self, mirrored):
        self.strategy = mirrored

    def train(self):
        """Five steps on a linear model: batch normalisation would see other batches per replica."""
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2, name="head")])
        optimizer = optimizers.SGD(
            0.1,
            momentum=0.9,
            nesterov=True,
            weight_decay=0.1,
            exclude_from_weight_decay=["bias"],
        )
        model.compile(optimizer, loss=keras.losses.MeanSquaredError())
        model.fit(*random_batch(), batch_size=8, epochs=5, shuffle=False, verbose=0)
        return [weight.numpy() for weight in model.weights]

    def test_two_replicas_equal_one(self):
        expected = self.train()
        with self.strategy.scope():
            actual = self.train()
        self.assertEqual(self.strategy.num_replicas_in_sync, 2)
        self.assertAllClose(actual, expected, rtol=0, atol=1e-6)


class ErrorsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("momentum", -0.1),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("weight_decay", float("nan")),
    )
    def test_number_out_of_range(self, name, value):
        with self.assertRaisesRegex(ValueError, rf"number in \[0, .*Received: {name}={value}"):
            optimizers.SGD(**{name: value})

    def test_whole_numbers_are_numbers(self):
        optimizer = optimizers.SGD(1, momentum=0, weight_decay=0)
        self.assertEqual(float(optimizer.learning_rate), 1.0)

    @parameterized.parameters("gamma", (("(",),), ((None,),))
    def test_patterns(self, patterns):
        with self.assertRaisesRegex(ValueError, "Received: exclude_from_weight_decay="):
            optimizers.SGD(exclude_from_weight_decay=patterns)

    def test_exclusion_that_would_not_be_saved(self):
        with self.assertRaisesRegex(NotImplementedError, "to the constructor"):
            optimizers.SGD().exclude_from_weight_decay(var_names=["gamma"])
