"""Confidence and calibration against values worked by hand."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.deployment.early_exit import confidence


class ConfidenceTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("probability", [0.5, 1.0, 0.25]),
        ("margin", [0.25, 1.0, 0.0]),
        # Entropies: 0.5 ln 2 + 2 * 0.25 ln 4 = 1.5 ln 2, 0 and ln 4 = 2 ln 2, of at most 2 ln 2.
        ("entropy", [0.25, 1.0, 0.0]),
    )
    def test_values(self, name, expected):
        probabilities = [[0.25, 0.5, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0], [0.25] * 4]
        values = confidence.measure(name)(tf.constant(probabilities))
        self.assertAllClose(values, expected, rtol=0, atol=1e-6)
        self.assertAllInRange(values, 0.0, 1.0)

    def test_unknown(self):
        with self.assertRaisesRegex(ValueError, "probability, margin, entropy. Received: conf.*x"):
            confidence.measure("x")


class CalibrationTest(tf.test.TestCase):
    def test_temperature_turns_stated_into_true_probabilities(self):
        # Of two classes the first is right in 3 of 4 cases, so softmax must give ln 3 apart.
        logits = np.tile([2.0, 0.0], (8, 1))
        labels = np.array([0, 0, 0, 1] * 2)
        self.assertNear(confidence.fit_temperature(logits, labels), 2.0 / np.log(3.0), 1e-3)

    def test_temperature_of_samples(self):
        generator = np.random.default_rng(0)
        logits = generator.normal(size=(20_000, 5))
        # Gumbel noise makes the largest sum a sample of softmax(logits).
        labels = (logits + generator.gumbel(size=logits.shape)).argmax(-1)
        self.assertNear(confidence.fit_temperature(3.0 * logits, labels), 3.0, 0.1)

    def test_expected_calibration_error(self):
        probabilities = np.array([[0.9, 0.1], [0.88, 0.12], [0.6, 0.4], [0.0, 1.0]])
        labels = np.array([0, 1, 0, 1])
        # Bins of 1/15: (0.867, 0.933] holds the first two, one right: |1/2 - 0.89|; 0.6 is alone
        # and right, 0.4 off; 1.0 is right.
        expected = 2 / 4 * 0.39 + 1 / 4 * 0.4
        error = confidence.expected_calibration_error(probabilities, labels)
        self.assertNear(error, expected, 1e-9)

    def test_errors_within_a_bin_cancel_and_bins_can_be_chosen(self):
        probabilities = np.array([[0.75, 0.25]] * 4)
        labels = np.array([0, 0, 0, 1])
        self.assertNear(confidence.expected_calibration_error(probabilities, labels), 0.0, 1e-9)
        mixed = np.array([[0.6, 0.4], [0.9, 0.1]])
        error = confidence.expected_calibration_error(mixed, np.array([1, 0]), bins=1)
        self.assertNear(error, 0.25, 1e-9)
