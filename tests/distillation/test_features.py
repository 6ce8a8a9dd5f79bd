"""Feature losses by hand, and their gradients in a training step."""

import os

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf import models
from ipkd_tf.distillation import distiller as distillation
from ipkd_tf.distillation import features


def _network(seed=0, filters=2):
    """Features of two layers, of which the pooled channels are the logits."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((4, 4, 1))
    early = keras.layers.Conv2D(filters, 1, use_bias=False, name="early")(image)
    late = keras.layers.Conv2D(filters, 1, use_bias=False, name="late")(early)
    logits = [
        keras.layers.GlobalAveragePooling2D(name=f"exit_{k}")(x) for k, x in ((1, early), (2, late))
    ]
    return keras.Model(image, logits)


def _images():
    return np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype("float32"), np.array([0, 1, 1])


class FeaturesTest(tf.test.TestCase):
    def test_distances_by_hand(self):
        # Mean squares over the channels: 1, 2 (of length sqrt(5)) against 4, 0 (of length 4).
        student = tf.constant([[[[1.0, 1.0]], [[2.0, 0.0]]]])
        teacher = tf.constant([[[[2.0, 2.0]], [[0.0, 0.0]]]])
        one = np.array([1, 2]) / 5**0.5
        expected = np.sum((one - [1, 0]) ** 2)
        self.assertAllClose(features.attention(student, teacher), [expected], 1e-5)
        self.assertAllClose(features.hint(student, teacher), [(1 + 1 + 4 + 0) / 4])
        # The mean over each 2 x 2 pixels of a larger map, and of other channels.
        large = tf.repeat(tf.repeat(teacher[..., :1], 2, axis=1), 2, axis=2)
        self.assertAllClose(features.attention(student, large), [expected], 1e-5)

    def test_a_step_adds_the_gradient_of_the_term(self):
        (x, y), outside = _images(), _network(seed=1)
        term = features.FeatureLoss("early", "t1:late", kind="hint", weight=3.0)
        kernels = {}
        for name, losses in (("without", ()), ("with", (term,))):
            network = _network()
            before = network.get_layer("early").kernel.numpy()
            distiller = distillation.InplaceDistiller(
                network, teachers="none", outside=[outside], features=losses
            )
            distiller.compile(keras.optimizers.SGD(1.0))
            logs = distiller.train_on_batch(x, y, return_dict=True)
            kernels[name] = network.get_layer("early").kernel.numpy()
        target = keras.Model(outside.inputs, outside.get_layer("late").output)(x).numpy()
        difference = x * before[0, 0, 0] - target
        self.assertAllClose(logs["soft_loss"], 3 * np.mean(difference**2), 1e-4)
        slope = 3 * 2 * np.sum(x * difference, (0, 1, 2)) / difference.size
        moved = kernels["with"] - kernels["without"]
        self.assertAllClose(moved[0, 0, 0], -slope, 1e-4, 1e-6)

    def test_inside_one_network_and_saved(self):
        (x, y), network = _images(), _network()
        losses = [features.FeatureLoss("early", "late", weight=2.0)]
        distiller = distillation.InplaceDistiller(network, features=losses)
        distiller.compile("sgd")
        distiller.fit(x, y, validation_data=(x, y), verbose=0)
        path = os.path.join(self.get_temp_dir(), "distiller.keras")
        distiller.save(path)
        loaded = keras.models.load_model(path)
        logs = [one.train_on_batch(x, y, return_dict=True)["loss"] for one in (distiller, loaded)]
        self.assertAllClose(*logs)

    def test_what_does_not_fit(self):
        network = _network()
        for losses, message in (
            ([{"student": "early", "teacher": "lat"}], "such as .*early, late.*layer='lat'"),
            ([{"student": "early", "teacher": "t1:late"}], "0 outside teachers.*'t1:late'"),
            ([{"student": "early", "teacher": "late", "kind": "x"}], "attention, hint.*kind='x'"),
            ([{"student": "early", "teacher": "late", "weight": 0}], "above 0.*weight=0"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                distillation.InplaceDistiller(network, features=losses)
        other = _network(filters=3)
        outside = keras.Model(other.input, keras.layers.Dense(2)(other.outputs[0]))
        hint = {"student": "early", "teacher": "t1:early", "kind": "hint"}
        with self.assertRaisesRegex(ValueError, r"student=\(4, 4, 2\), teacher=\(4, 4, 3\)"):
            distillation.InplaceDistiller(network, outside=[outside], features=[hint])
        us = models.from_preset("us_mobilenet_v1_small", blocks=((16, 2),), image_size=8)
        with self.assertRaisesRegex(ValueError, "functional graph.*USMobileNetV1"):
            distillation.InplaceDistiller(us, features=[hint])
