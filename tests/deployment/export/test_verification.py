"""Numbers of a comparison by hand, and what is refused."""

import numpy as np
from absl.testing import parameterized

from ipkd_tf.deployment.export import verification
from ipkd_tf.deployment.export.formats import Tolerance

LOGITS = np.array([[1.0, 2.0], [8.0, 3.0], [0.0, -4.0], [5.0, 6.0]], np.float32)


class VerificationTest(parameterized.TestCase):
    def test_scores_by_hand(self):
        written = LOGITS + np.array([[0, 0], [0, 0.25], [0, 0], [1.5, 0]], np.float32)
        # Of two classes the first has 1 / (1 + exp(b - a)).
        first = 1 / (1 + np.exp(np.array([1.0, -4.75, -4.0, -0.5])))
        probabilities = np.stack([first, 1 - first], -1)
        probabilities[2] += [-0.125, 0.125]
        outputs = {"logits": written, "class_id": written.argmax(-1)}
        outputs["probabilities"] = probabilities
        scores = verification.compare(outputs, LOGITS, labels=np.array([1, 0, 1, 1]))
        self.assertAlmostEqual(scores.pop("probability_difference"), 0.125)
        self.assertEqual(
            scores,
            {
                "images": 4,
                "largest_difference": 1.5,
                "largest_logit": 8.0,
                "equal_decisions": 0.75,
                "accuracy": 0.5,
                "network_accuracy": 0.75,
            },
        )

    @parameterized.parameters(
        (1.5, 0.75, True), (1.7, 0.75, False), (1.5, 0.7, False), (float("nan"), 1.0, False)
    )
    def test_tolerance(self, difference, agreement, passes):
        scores = {"images": 4, "largest_difference": difference, "largest_logit": 8.0}
        scores |= {"equal_decisions": agreement, "probability_difference": 0.0}
        tolerance = Tolerance(difference=0.2, agreement=0.75)
        if passes:
            verification.check(scores, tolerance, "onnx of exit_1")
            return
        with self.assertRaisesRegex(ValueError, "onnx of exit_1 does not .*nothing was written"):
            verification.check(scores, tolerance, "onnx of exit_1")

    def test_small_logits_do_not_tighten_the_tolerance(self):
        scores = {"images": 1, "largest_difference": 5e-5, "largest_logit": 0.01}
        scores |= {"equal_decisions": 1.0, "probability_difference": 1e-6}
        verification.check(scores, Tolerance(1e-4, 1.0), "keras of exit_1")

    @parameterized.parameters((1e-4, 0.001), (1.0, 0.06), (1.0, float("nan")))
    def test_wrong_probabilities_of_right_logits_are_refused(self, difference, of_probability):
        scores = {"images": 1, "largest_difference": 0.0, "largest_logit": 1.0}
        scores |= {"equal_decisions": 1.0, "probability_difference": of_probability}
        with self.assertRaisesRegex(ValueError, "of a probability"):
            verification.check(scores, Tolerance(difference, 1.0), "keras of exit_1")

    def test_batches_are_joined_in_order(self):
        def model(images, signature):
            return {"sum": images.sum(axis=(1, 2, 3)) + signature}

        images = np.arange(150, dtype=np.int64).reshape(150, 1, 1, 1)
        outputs = verification.predict(lambda batch: model(batch, 7), images)
        self.assertEqual(outputs["sum"].tolist(), list(range(7, 157)))

    @parameterized.parameters((-0.1, 0.5), (0.1, 1.5))
    def test_tolerances_that_make_no_sense(self, difference, agreement):
        with self.assertRaisesRegex(ValueError, "Received: tolerance="):
            Tolerance(difference, agreement)
