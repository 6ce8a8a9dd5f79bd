"""What every family of flexible networks promises, as a test class that each inherits."""

import os

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf import models
from ipkd_tf.models import cost, flexible


def images(batch=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, 16, 16, 3)).astype("uint8")


def logits_of(network, batch):
    """A list of the logits of all sub-models, also where Keras returns those of one without it."""
    return keras.tree.flatten(network(batch, training=False))


class FamilyContract:
    """Inherit it together with `tf.test.TestCase`, and name the network.

    Attributes:
        preset: Name or import path of the network.
        arguments: Of its constructor, besides 5 classes and images of 16 x 16.
        unlisted: What names a sub-model beyond the named ones, or None.
        plain: Whether sub-models consist of Keras's own layers.
    """

    preset = None
    arguments = {}
    unlisted = None
    plain = True

    @classmethod
    def setUpClass(cls):
        """A network whose statistics and weights are not the initial ones: a mix-up shows."""
        super().setUpClass()
        keras.utils.set_random_seed(1)
        cls.network = models.from_preset(cls.preset, num_classes=5, image_size=16, **cls.arguments)
        cls.network(images(64).astype("float32"), training=True)
        for number, weight in enumerate(cls.network.weights):
            if "gamma" in weight.path or "beta" in weight.path:
                noise = np.random.default_rng(number).uniform(0.8, 1.2, weight.shape)
                weight.assign(weight * noise + 0.05 * (noise - 1))
        if cls.network.needs_recalibration:
            for name in cls.network.submodel_names:
                cls.network.recalibrate(name, [images(64)])
        cls.logits = [logits.numpy() for logits in logits_of(cls.network, images())]
        cls.cut = [cls.network.submodel(name) for name in cls.network.submodel_names]

    def test_one_output_of_logits_per_named_submodel(self):
        names = self.network.submodel_names
        self.assertEqual(names, flexible.names(self.network))
        self.assertLen(self.logits, len(set(names)))
        self.assertEqual({logits.shape for logits in self.logits}, {(4, 5)})

    def test_uint8_and_float_images_mean_the_same(self):
        for a, b in zip(
            self.logits, logits_of(self.network, images().astype("float32")), strict=True
        ):
            self.assertAllClose(a, b, 1e-6)

    def test_a_submodel_is_smaller_and_equal_and_uses_all_it_holds(self):
        for model, expected in zip(self.cut, self.logits, strict=True):
            self.assertAllClose(model(images(), training=False), expected, 1e-4, 1e-5)
            self.assertLessEqual(model.count_params(), self.network.count_params())
            self._check_every_weight_is_used(model)
        if len(self.cut) > 1:
            self.assertLess(self.cut[0].count_params(), self.network.count_params())

    def _check_every_weight_is_used(self, model):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images(), training=True)[:, 0])
        gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
        pairs = zip(model.trainable_weights, gradients, strict=True)
        self.assertEmpty([weight.path for weight, gradient in pairs if gradient is None])

    def test_a_submodel_is_found_by_number_name_and_value(self):
        last = self.network.submodels[-1]
        for which in (-1, len(self.logits) - 1, last.name, last):
            model = self.network.submodel(which)
            self.assertEqual(model.name, last.name)
            self.assertAllClose(model(images()), self.logits[-1], 1e-4, 1e-5)
        with self.assertRaisesRegex(IndexError, "from 0 to .*Received: submodel=9"):
            self.network.submodel(9)
        with self.assertRaisesRegex(ValueError, "Received: submodel=|could not convert"):
            self.network.submodel("nonsense")

    def test_a_submodel_shares_nothing_with_the_network(self):
        small = self.network.submodel(0)
        small.set_weights([np.zeros_like(w) for w in small.get_weights()])
        self.assertAllEqual(logits_of(self.network, images())[0], self.logits[0])

    def test_a_submodel_beyond_the_named_ones(self):
        if self.unlisted is None:
            self.skipTest("all its sub-models are named")
        if self.network.needs_recalibration:
            with self.assertRaisesRegex(ValueError, "recalibrate"):
                self.network.submodel(self.unlisted)
        before = self.network.get_weights()
        self.network.recalibrate(self.unlisted, [images(32, 1), images(32, 2)])
        for a, b in zip(before, self.network.get_weights(), strict=True):
            self.assertAllEqual(a, b)
        sizes = [self.cut[0], self.network.submodel(self.unlisted), self.cut[-1]]
        sizes = [model.count_params() for model in sizes]
        self.assertEqual(sizes, sorted(set(sizes)))
        self.assertEqual(sizes[1] - sizes[0] > 0, True)

    def test_what_a_step_draws_is_a_function_of_seed_and_step(self):
        traces = []

        @tf.function
        def train(step):
            traces.append(1)
            drawn = self.network.draw(7, step)
            return self.network.train_logits(tf.cast(images(), tf.float32), drawn), drawn

        (logits, further), drawn = train(tf.constant(3))
        self.assertEqual({a.shape for a in (*logits, *further)}, {(4, 5)})
        self.assertLen(logits, self.network.drawn)
        if drawn is not None:
            self.assertAllEqual(drawn, self.network.draw(7, tf.constant(3)))
            other = [self.network.draw(7, step).numpy().tolist() for step in range(20)]
            self.assertGreater(len({str(one) for one in other}), 1)
            train(tf.constant(4))
        self.assertLen(traces, 1)

    def test_costs_are_those_of_the_models_cut_out(self):
        for name, model in zip(self.network.submodel_names, self.cut, strict=True):
            costs = cost.of_submodel(self.network, name)
            self.assertEqual(list(costs), [one.name for one in cost.table(self.network)])
            self.assertEqual(costs["parameters"], cost.parameters(model))
            self.assertEqual(costs["multiply_adds"], cost.multiply_adds(model))

    def test_it_is_saved_and_loaded_whole(self):
        path = os.path.join(self.get_temp_dir(), "network.keras")
        self.network.save(path)
        loaded = models.load(path)
        self.assertIsInstance(loaded, type(self.network))
        self.assertEqual(loaded.submodels, self.network.submodels)
        self.assertEqual(loaded.get_config(), self.network.get_config())
        for a, b in zip(self.logits, logits_of(loaded, images()), strict=True):
            self.assertAllEqual(a, b)

    def test_it_is_cloned(self):
        clone = keras.models.clone_model(self.network)
        clone.set_weights(self.network.get_weights())
        pairs = zip(logits_of(clone, images()), logits_of(self.network, images()), strict=True)
        for a, b in pairs:
            self.assertAllEqual(a, b)

    def test_its_summary(self):
        lines = []
        self.network.summary(print_fn=lines.append)
        self.assertIn("Total params", "\n".join(lines))

    def test_a_submodel_needs_no_class_of_this_package(self):
        if not self.plain:
            self.skipTest("it holds layers of its own")
        submodel = self.cut[-1]
        owners = {type(operation).__module__.partition(".")[0] for operation in submodel.operations}
        self.assertEqual(owners, {"keras"})
        path = os.path.join(self.get_temp_dir(), "submodel.keras")
        submodel.save(path)
        loaded = keras.models.load_model(path)
        self.assertAllEqual(loaded(images()), submodel(images()))
