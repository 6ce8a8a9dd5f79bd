"""Rows of sub-models against counts made by hand."""

import math
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.training import evaluation

# One row per example; the label of example i is LABELS[i].
FEATURES = np.float32([[0, 2, 0], [1, 0, 0], [0, 0, 3], [0, 1, 0], [0, 0, 1]])
LABELS = np.int32([1, 1, 2, 1, 0])


def as_given_and_doubled():
    """Two sub-models: logits that are the features, and (through two layers) twice as large."""
    features = keras.Input([3], name="features")
    given = keras.layers.Dense(3, use_bias=False, name="given")
    doubled = keras.layers.Dense(3, use_bias=False, name="doubled")
    network = keras.Model(features, [given(features), doubled(given(features))])
    given.set_weights([np.eye(3)])
    doubled.set_weights([2 * np.eye(3)])
    return network


def batches(sizes=(2, 2, 1)):
    starts = np.cumsum([0, *sizes])
    parts = [(FEATURES[a:b], LABELS[a:b]) for a, b in zip(starts, starts[1:], strict=False)]
    spec = (tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int32))
    return tf.data.Dataset.from_generator(lambda: parts, output_signature=spec)


class EvaluateTest(tf.test.TestCase):
    def test_rows(self):
        first, second = evaluation.evaluate(as_given_and_doubled(), batches())
        self.assertEqual([first["name"], second["name"]], ["given", "doubled"])
        # The second example is taken for class 0, the fifth for class 2.
        self.assertAllClose([first["accuracy"], second["accuracy"]], [3 / 5, 3 / 5])
        self.assertAllClose([first["top_5_accuracy"], second["top_5_accuracy"]], [1, 1])
        self.assertEqual([first["parameters"], second["parameters"]], [9, 18])
        self.assertEqual([first["multiply_adds"], second["multiply_adds"]], [9, 18])

    def test_loss_is_the_mean_over_examples_not_over_batches(self):
        rows = evaluation.evaluate(as_given_and_doubled(), batches(sizes=(4, 1)))

        def cross_entropy(scale):
            per_example = [
                math.log(sum(math.exp(scale * a) for a in logits)) - scale * logits[label]
                for logits, label in zip(FEATURES.tolist(), LABELS, strict=True)
            ]
            return sum(per_example) / len(per_example)

        self.assertAllClose([row["loss"] for row in rows], [cross_entropy(1), cross_entropy(2)])

    def test_calibration_error_is_the_mean_gap_over_the_bins(self):
        features = keras.Input([2], name="features")
        network = keras.Model(features, [keras.layers.Identity(name="copy")(features)])
        # Confidence, right or wrong, bin of 1/15: 0.9 and 0.92 are both in the 14th; 0.65 in the
        # 10th, 0.55 in the 9th.
        confidences, labels = np.float32([0.9, 0.65, 0.55, 0.92]), [0, 0, 1, 1]
        logits = np.log(np.stack([confidences, 1 - confidences], axis=1))
        for size in (4, 3):
            data = tf.data.Dataset.from_tensor_slices((logits, labels)).batch(size)
            (row,) = evaluation.evaluate(network, data)
            expected = (abs(0.1 - 0.92) + 0.35 + 0.55) / 4
            self.assertAllClose(row["calibration_error"], expected, 1e-5)
        metric = evaluation.CalibrationError(bins=2)  # 0.5 is in the first of two, 1 in the last
        metric.update_state([0, 1, 0], tf.constant([[0.0, 0.0], [0.0, 0.0], [99.0, 0.0]]))
        self.assertAllClose(metric.result(), 0.0)
        metric.update_state([1], tf.constant([[99.0, 0.0]]))
        self.assertAllClose(metric.result(), 1 / 4)

    def test_arrays(self):
        rows = evaluation.evaluate(as_given_and_doubled(), batches())
        for labels in (LABELS, LABELS[:, np.newaxis], LABELS.tolist()):
            self.assertEqual(evaluation.evaluate(as_given_and_doubled(), (FEATURES, labels)), rows)
        with mock.patch.object(evaluation, "_BATCH", 2):
            again = evaluation.evaluate(as_given_and_doubled(), (FEATURES, LABELS))
        self.assertAllClose([r["loss"] for r in again], [r["loss"] for r in rows])
        self.assertEqual(again[0]["accuracy"], rows[0]["accuracy"])
        with self.assertRaisesRegex(ValueError, "at least one batch"):
            evaluation.evaluate(as_given_and_doubled(), (FEATURES[:0], LABELS[:0]))

    def test_top_5(self):
        features = keras.Input([7], name="features")
        network = keras.Model(features, [keras.layers.Identity(name="copy")(features)])
        logits = np.float32([[6, 5, 4, 3, 2, 1, 0]] * 4)
        labels = np.int32([0, 4, 5, 6])
        data = tf.data.Dataset.from_tensor_slices((logits, labels)).batch(4)
        (row,) = evaluation.evaluate(network, data)
        self.assertAllClose([row["accuracy"], row["top_5_accuracy"]], [1 / 4, 2 / 4])

    def test_chosen_sub_models_only(self):
        (row,) = evaluation.evaluate(as_given_and_doubled(), batches(), submodels=[1])
        self.assertEqual((row["name"], row["multiply_adds"]), ("doubled", 18))

    def test_no_examples(self):
        with self.assertRaisesRegex(ValueError, "at least one batch"):
            evaluation.evaluate(as_given_and_doubled(), batches().take(0))


if __name__ == "__main__":
    tf.test.main()
