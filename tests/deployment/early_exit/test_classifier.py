"""A classifier that stops, against early exit simulated from the network's logits."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.deployment.early_exit import thresholds as fitting
from ipkd_tf.deployment.early_exit.classifier import EarlyExitClassifier
from tests.deployment.early_exit import small

IMAGES = small.IMAGES


class ClassifierTest(tf.test.TestCase, parameterized.TestCase):
    def check(self, result, probabilities, exits):
        expected = probabilities[exits, np.arange(len(exits))]
        self.assertAllEqual(result["exit"], exits)
        self.assertAllClose(result["probabilities"], expected, rtol=0, atol=1e-5)
        self.assertAllEqual(result["class_id"], expected.argmax(-1))
        self.assertEqual(result["class_id"].dtype, tf.int32)

    @parameterized.parameters(
        ("msdnet_small", True), ("msdnet_small", False), ("slimmable_mobilenet_v1_small", True)
    )
    def test_each_image_leaves_where_simulated(self, family, copy):
        network = small.network(family)
        probabilities = small.probabilities(network)
        confidence = probabilities.max(-1)
        classify = small.classifier(family, copy)
        for quantiles in ((0.5, 0.5), (0.6, 0.3), (0.9, 0.4)):
            thresholds = small.thresholds(confidence, quantiles)
            exits = fitting.leave(confidence, thresholds)
            self.assertLen(set(exits), 3)
            self.check(classify(IMAGES, thresholds), probabilities, exits)
            alone = [classify(IMAGES[i : i + 1], thresholds)["exit"][0] for i in range(8)]
            self.assertAllEqual(alone, exits[:8])

    @parameterized.parameters(
        ((0.0, 0.0), 0),  # everybody is sure at the first exit
        ((2.0, 0.0), 1),
        ((1.0, 1.0), 2),  # nobody is sure
        ((2.0, 2.0), 2),  # nobody is asked
    )
    def test_all_images_at_one_exit(self, thresholds, exit):
        probabilities = small.probabilities(small.network("msdnet_small"))
        for batch in (1, 24):
            result = small.classifier()(IMAGES[:batch], thresholds)
            self.check(result, probabilities[:, :batch], np.full(batch, exit))

    def test_a_batch_of_none(self):
        for thresholds in ((0.0, 0.0), (2.0, 2.0)):
            result = small.classifier()(IMAGES[:0], thresholds)
            self.assertEqual(result["probabilities"].shape, (0, 3))
            self.assertEqual((result["exit"].shape, result["class_id"].shape), ((0,), (0,)))

    @parameterized.parameters("margin", "entropy")
    def test_other_confidences_temperatures_and_float_images(self, name):
        network, temperatures = small.network("msdnet_small"), (2.0, 0.5, 3.0)
        probabilities = small.probabilities(network, temperatures)
        if name == "margin":
            ascending = np.sort(probabilities, axis=-1)
            confidence = ascending[..., -1] - ascending[..., -2]
        else:
            logarithms = probabilities * np.log(probabilities)
            confidence = 1 + logarithms.sum(-1) / np.log(3)
        thresholds = small.thresholds(confidence, (0.4, 0.6))
        classify = EarlyExitClassifier(network, thresholds, name, temperatures)
        exits = fitting.leave(confidence, thresholds)
        self.check(classify(IMAGES.astype(np.float32)), probabilities, exits)

    @parameterized.parameters(
        ({"thresholds": [0.5]}, "each of exit_1, exit_2: .*Received: thresholds="),
        ({"thresholds": [0.5, -0.1]}, "Received: thresholds="),
        ({"thresholds": [0.5, np.nan]}, "Received: thresholds="),
        ({"temperatures": [1.0, 0.0, 1.0]}, "positive temperature.*Received: temperatures="),
        ({"confidence": "luck"}, "Received: confidence='luck'"),
    )
    def test_what_makes_no_sense_is_refused(self, changed, message):
        arguments = {"thresholds": [0.5, 0.5], **changed}
        with self.assertRaisesRegex(ValueError, message):
            EarlyExitClassifier(small.network("msdnet_small"), **arguments)

    def test_an_adapted_normalization_layer_goes_along(self):
        image = keras.Input((8, 8, 3))
        normalize = keras.layers.Normalization()
        normalize.adapt(40.0 + 0.1 * small.IMAGES[:, :8, :8])
        x = keras.layers.Conv2D(4, 3, activation="relu")(normalize(image))
        first = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
        x = keras.layers.Conv2D(4, 3, activation="relu")(x)
        last = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
        network, images = keras.Model(image, [first, last]), small.IMAGES[:, :8, :8]
        probabilities = small.probabilities(network, (1.0, 1.0), images)
        classify = EarlyExitClassifier(network, [0.5])
        for threshold, exit in ((0.0, 0), (2.0, 1)):
            result = classify(images, [threshold])
            self.check(result, probabilities, np.full(len(images), exit))


@keras.saving.register_keras_serializable("tests")
class Count(keras.layers.Layer):
    """Passes its input on and notes how many rows it had."""

    def __init__(self, seen, number, **kwargs):
        super().__init__(**kwargs)
        self.note = lambda x: seen.append((number, len(x))) or x

    def call(self, x):
        return tf.ensure_shape(tf.numpy_function(self.note, [x], tf.float32), x.shape)

    def compute_output_shape(self, input_shape):
        return input_shape


class WorkTest(tf.test.TestCase):
    def test_only_the_unsure_are_computed_and_nothing_twice(self):
        seen = []
        image = keras.Input((1, 1, 2))
        # Each exit doubles the evidence; images differ in how much they start with.
        x, outputs = keras.layers.Flatten()(image), []
        for number in range(3):
            x = Count(seen, number)(2 * x)
            outputs.append(Count(seen, f"head {number}")(1 * x))
        network = keras.Model(image, outputs)
        logits = np.array([3.0, 0.1, 1.0, 0.2], np.float32)
        images = np.stack([logits, np.zeros(4, np.float32)], axis=-1)[:, None, None]
        classify = EarlyExitClassifier(network, [0.9, 0.9], copy=False)
        # sigmoid(2.2) = 0.9: 6.0 suffices at once, 2 * 2 * 1.0 later, the others never do.
        self.assertAllEqual(classify(images)["exit"], [0, 2, 1, 2])
        self.assertCountEqual(
            seen,
            [(0, 4), (1, 3), (2, 2), ("head 0", 4), ("head 1", 3), ("head 2", 2)],
        )
        seen.clear()
        classify(images[:1])
        self.assertCountEqual(seen, [(0, 1), ("head 0", 1)])
        seen.clear()
        classify(images, [fitting.SKIP, fitting.SKIP])
        self.assertCountEqual(seen, [(0, 4), (1, 4), (2, 4), ("head 2", 4)])
        # What is not a number is never sure.
        self.assertAllEqual(classify(np.nan * images[:2])["exit"], [2, 2])
