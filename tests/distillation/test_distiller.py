"""The distiller's step against the loss taken apart, and its life as a Keras model."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.distillation import distiller as distillation
from ipkd_tf.distillation import losses
from ipkd_tf.training import optimizers


def _linear(outputs=3, classes=4, features=5):
    """A network in which each sub-model is one dense layer, so that gradients stand apart."""
    keras.utils.set_random_seed(0)
    x = keras.Input((features,))
    heads = [keras.layers.Dense(classes, name=f"head_{i}")(x) for i in range(outputs)]
    return keras.Model(x, heads)


def _data(batch=8, features=5, classes=4, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(batch, features)).astype("float32")
    return x, random.integers(0, classes, batch).astype("int32")


def _softmax(z):
    exponentials = np.exp(z - z.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _compiled(network, **arguments):
    distiller = distillation.InplaceDistiller(network, **arguments)
    distiller.compile(optimizer=optimizers.SGD(0.1))
    return distiller


class TrainStepTest(tf.test.TestCase):
    def test_a_step_follows_the_hand_derived_gradient(self):
        # d/da of CE is p - y, of T^2 KL(q || p_T) is T (p_T - q): Equation 7, three sub-models.
        network, (x, y), weight, temperature = _linear(), _data(), 0.8, 3.0
        before = [head.get_weights() for head in network.layers[1:]]
        logits = [x @ kernel + bias for kernel, bias in before]
        soft = [_softmax(a / temperature) for a in logits]
        targets = [(soft[1] + soft[2]) / 2, soft[2], None]
        _compiled(network, teachers="ipkd_ta_m", temperature=temperature).train_on_batch(x, y)
        for head, (kernel, _), a, s, q in zip(
            network.layers[1:], before, logits, soft, targets, strict=True
        ):
            gradient = _softmax(a) - np.eye(4)[y]
            if q is not None:
                gradient = (1 - weight) * gradient + weight * temperature * (s - q)
            expected = kernel - 0.1 * x.T @ gradient / len(x)
            self.assertAllClose(head.kernel, expected, 1e-5, 1e-6)

    def test_logs_are_the_losses_and_accuracies_of_the_batch(self):
        network, (x, y) = _linear(), _data()
        distiller = _compiled(network, teachers="ipkd", distillation_weight=0.5, temperature=2.0)
        logits = [a.numpy() for a in network(x)]
        logs = distiller.evaluate(x, y, batch_size=3, verbose=0, return_dict=True)
        accuracies = [float(np.mean(a.argmax(-1) == y)) for a in logits]
        hard, soft = losses.per_example_losses(y, logits, distiller.teachers, 0.5, 2.0)
        self.assertAllClose(
            logs,
            {
                "loss": np.mean(hard + soft),
                "hard_loss": np.mean(hard),
                "soft_loss": np.mean(soft),
                "avg_accuracy": np.mean(accuracies),
                **{f"head_{i}_accuracy": accuracy for i, accuracy in enumerate(accuracies)},
            },
            1e-5,
        )

    def test_top_5_accuracy_is_logged_on_request(self):
        network, (x, y) = _linear(classes=9), _data(classes=9)
        logs = _compiled(network, top_5=True).evaluate(x, y, verbose=0, return_dict=True)
        order = np.argsort(-network(x)[1].numpy(), -1)[:, :5]
        expected = np.mean([label in row for label, row in zip(y, order, strict=True)])
        self.assertNear(logs["head_1_top_5_accuracy"], expected, 1e-6)

    def test_an_example_of_weight_zero_does_not_exist(self):
        x, y = _data()
        y_wrong, weights = y.copy(), np.ones(8, "float32")
        y_wrong[6:], weights[6:] = 0, 0.0
        results = []
        for arrays in ((x, y_wrong, weights), (x[:6], y[:6])):
            network = _linear()
            logs = _compiled(network).train_on_batch(*arrays, return_dict=True)
            results.append((logs, network.get_weights()))
        self.assertAllClose(results[0], results[1], 1e-5)

    def test_labels_as_a_column_and_as_probabilities_mean_the_same(self):
        x, y = _data()
        results = []
        for labels in (y, y[:, None], np.eye(4, dtype="float32")[y]):
            network = _linear()
            logs = _compiled(network).train_on_batch(x, labels, return_dict=True)
            results.append((logs, network.get_weights()))
        self.assertAllClose(results[0], results[1], 1e-5)
        self.assertAllClose(results[0], results[2], 1e-5)

    def test_regularisation_losses_of_the_network_take_part(self):
        x = keras.Input((5,))
        head = keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.5))
        network = keras.Model(x, [head(x)])
        before = head.kernel.numpy()
        distiller = _compiled(network, teachers="none")
        images, labels = _data()
        gradient = images.T @ (_softmax(network(images).numpy()) - np.eye(4)[labels]) / 8
        distiller.train_on_batch(images, labels)
        self.assertAllClose(head.kernel, before - 0.1 * (gradient + before), 1e-5, 1e-6)


class ReplicaTest(tf.test.TestCase, parameterized.TestCase):
    @pytest.fixture(autouse=True)
    def _strategy(self, mirrored):
        self.strategy = mirrored

    @parameterized.parameters(8, 7)
    def test_two_replicas_take_the_step_of_one(self, batch):
        x, y = _data(batch)
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        single = _linear()
        expected = _compiled(single).fit(dataset, epochs=2, verbose=0).history
        with self.strategy.scope():
            network = _linear()
            distiller = _compiled(network)
        history = distiller.fit(dataset, epochs=2, verbose=0).history
        self.assertAllClose(network.get_weights(), single.get_weights(), 1e-5, 1e-6)
        self.assertAllClose(history, expected, 1e-5)


class ModelLifeTest(tf.test.TestCase, parameterized.TestCase):
    def test_fit_evaluate_predict(self):
        network = models.from_preset("msdnet_small", num_classes=3, image_size=8, blocks=2, base=1)
        images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype("uint8")
        labels = (images.mean((1, 2, 3)) > 127).astype("int32")
        distiller = _compiled(network)
        history = distiller.fit(
            images, labels, validation_data=(images, labels), epochs=8, batch_size=6, verbose=0
        ).history
        self.assertLess(history["loss"][-1], history["loss"][0])
        self.assertIn("val_exit_2_accuracy", history)
        predicted = distiller.predict(images, verbose=0)
        for a, b in zip(predicted, network(images, training=False), strict=True):
            self.assertAllClose(a, b, 1e-4, 1e-5)

    def test_a_saved_distiller_goes_on_training_alike(self):
        (x, y), path = _data(), os.path.join(self.get_temp_dir(), "distiller.keras")
        distiller = distillation.InplaceDistiller(
            _linear(), teachers="0:1,1:2", temperature=2.0, divergence="ce", distillation_weight=0.3
        )
        distiller.compile(optimizer=optimizers.SGD(0.1, momentum=0.9))
        distiller.train_on_batch(x, y)
        distiller.save(path)
        loaded = keras.models.load_model(path)
        settings = (
            "teachers",
            "distillation_weight",
            "temperature",
            "divergence",
            "submodel_names",
        )
        for name in settings:
            self.assertAllEqual(getattr(loaded, name), getattr(distiller, name))
        for model in (distiller, loaded):
            model.train_on_batch(x, y)
        self.assertAllClose(distiller.get_weights(), loaded.get_weights(), 0, 0)

    def test_mixed_precision_trains_and_logs_float32_losses(self):
        keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            network, (x, y) = _linear(), _data()
            distiller = _compiled(network)
            logs = distiller.train_on_batch(x, y, return_dict=True)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        self.assertIsInstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
        reference = _compiled(_linear()).train_on_batch(x, y, return_dict=True)
        self.assertAllClose(logs["loss"], reference["loss"], 1e-2)

    @parameterized.parameters(
        ({"teachers": "ipkd_ta_9"}, "ipkd_ta_9"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"distillation_weight": 1.5}, "distillation_weight=1.5"),
        ({"divergence": "js"}, "divergence='js'"),
        ({"teachers": np.eye(3)}, "larger"),
    )
    def test_bad_settings_are_named(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            distillation.InplaceDistiller(_linear(), **arguments)

    def test_a_network_without_logits_per_submodel_is_refused(self):
        x = keras.Input((4, 4, 3))
        maps = keras.Model(x, [keras.layers.Conv2D(2, 1)(x)])
        with self.assertRaisesRegex(ValueError, "output \\[batch, classes\\]"):
            distillation.InplaceDistiller(maps)

    def test_a_loss_of_the_users_own_is_refused(self):
        distiller = distillation.InplaceDistiller(_linear())
        with self.assertRaisesRegex(ValueError, "has its own.*mse"):
            distiller.compile(optimizer="sgd", loss="mse")
