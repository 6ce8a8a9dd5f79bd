"""Simulated early exit, and thresholds against a search over all of them."""

import itertools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.deployment.early_exit import thresholds

BODIES, HEADS = (1.0, 1.0, 0.0), (1.0, 2.0, 4.0)
# Straight to the exits: 1 + 1, 2 + 2 and 2 + 4.
COSTS = thresholds.Costs(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0]))
# Three exits, five images.
ANSWERS = thresholds.Answers(
    np.array([[0.9, 0.8, 0.5, 0.4, 0.2], [0.7, 0.3, 0.9, 0.6, 0.1], [0.1] * 5]),
    np.array([[1, 0, 0, 0, 0], [1, 1, 0, 1, 0], [1, 0, 1, 1, 0]], bool),
)


def slowly(answers, limits):
    """One image after the other."""
    exits, right, paid = [], 0, 0.0
    for image in range(answers.correct.shape[1]):
        for exit in range(len(answers.correct)):
            last = exit == len(limits)
            paid += BODIES[exit]
            if last or limits[exit] <= 1:
                paid += HEADS[exit]
                if last or answers.confidence[exit, image] >= limits[exit]:
                    break
        exits.append(exit)
        right += answers.correct[exit, image]
    return exits, right / len(exits), paid / len(exits)


def random_answers(images, seed=0, count=3):
    """Answers of which the surer ones are more often right, and the later ones more often yet."""
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(size=(count, images)).astype(np.float32)
    skill = np.linspace(0.6, 0.9, count)[:, None]
    return thresholds.Answers(
        confidence, generator.uniform(size=confidence.shape) < skill * (0.4 + 0.6 * confidence)
    )


class SimulationTest(tf.test.TestCase, parameterized.TestCase):
    def test_by_hand(self):
        outcome = thresholds.simulate(ANSWERS, COSTS, [0.8, 0.6])
        self.assertAllEqual(outcome.exits, [0, 0, 1, 1, 2])
        # Right: images 0 and 3. Cost: 1 + 1 at exit 0, 2 + 1 + 2 at exit 1, 4 more at exit 2.
        self.assertEqual(outcome.accuracy, 2 / 5)
        self.assertEqual(outcome.cost, (2 + 2 + 5 + 5 + 9) / 5)
        self.assertAllEqual(outcome.shares, [0.4, 0.4, 0.2])

    def test_a_skipped_exit_costs_no_head(self):
        outcome = thresholds.simulate(ANSWERS, COSTS, [thresholds.SKIP, 0.6])
        self.assertAllEqual(outcome.exits, [1, 2, 1, 1, 2])
        self.assertEqual(outcome.cost, (3 * 4 + 2 * 8) / 5)

    @parameterized.parameters(*itertools.product((0.0, 0.45, 2.0), repeat=2))
    def test_as_one_image_after_the_other(self, first, second):
        answers = random_answers(40)
        outcome = thresholds.simulate(answers, COSTS, [first, second])
        exits, accuracy, cost = slowly(answers, [first, second])
        self.assertAllEqual(outcome.exits, exits)
        self.assertNear(outcome.accuracy, accuracy, 1e-9)
        self.assertNear(outcome.cost, cost, 1e-9)

    def test_nobody_sure_and_not_a_number_go_to_the_last_exit(self):
        confidence = np.array([[0.5, np.nan], [np.nan, 0.5], [0.0, 0.0]])
        self.assertAllEqual(thresholds.leave(confidence, [0.9, 0.9]), [2, 2])
        self.assertAllEqual(thresholds.leave(confidence, [0.0, 0.0]), [0, 1])

    @parameterized.parameters(
        (1.9, None), (2.0, 0.2), (2.3, 0.2), (2.4, 0.4), (2.8, 0.6), (3.6, 0.8)
    )
    def test_oracle(self, budget, accuracy):
        # Straight to the exits: 2, 4, 6. Image 0 is right at 2; 1 and 3 at 4 (0.4 more in the mean
        # each), image 2 at 6 (0.8 more), image 4 nowhere.
        self.assertEqual(thresholds.oracle(ANSWERS, COSTS, budget), accuracy)


class ThresholdsTest(tf.test.TestCase, parameterized.TestCase):
    def test_geometric_shares(self):
        answers = random_answers(1000)
        for fitted in thresholds.geometric(answers, COSTS)[1:-1]:
            first, second, third = thresholds.simulate(answers, COSTS, fitted.thresholds).shares
            # second / first = third / second up to the rounding to whole images.
            self.assertNear(second * second, first * third, 0.002)

    def test_geometric_goes_from_all_first_to_all_last(self):
        fitted = thresholds.geometric(ANSWERS, COSTS)
        self.assertEqual(fitted[0].cost, 2.0)
        self.assertEqual(fitted[-1].cost, 6.0)

    def test_uniform_goes_from_all_first_to_all_last_with_one_threshold(self):
        outcomes = thresholds.uniform(random_answers(1000), COSTS)
        for outcome in outcomes:
            self.assertLen(set(outcome.thresholds), 1)
        costs = [outcome.cost for outcome in outcomes]
        self.assertAllEqual(costs, sorted(costs))
        self.assertEqual(costs[0], 2.0)
        # Asked at two exits and surer than all at neither: 6 + 1 + 2 but for the surest image.
        self.assertBetween(costs[-1], 8.98, 9.0)

    def test_within_is_the_best_of_what_fits_and_of_equals_the_cheapest(self):
        (first, *_), exits = thresholds.single(ANSWERS, COSTS), np.zeros(5, int)
        outcomes = [
            thresholds.Outcome((k,), exits, accuracy, cost)
            for k, (accuracy, cost) in enumerate([(0.5, 2.0), (0.6, 4.0), (0.6, 3.0), (0.7, 5.0)])
        ]
        for budget, best in ((2.0, 0), (2.9, 0), (4.5, 2), (5.0, 3)):
            self.assertEqual(thresholds.within(outcomes, budget).thresholds, (best,))
        self.assertEqual((first.thresholds, first.accuracy, first.cost), ((0.0, 0.0), 0.2, 2.0))

    @parameterized.parameters(0, 1, 2)
    def test_a_budget_of_exactly_the_cheapest_exit_suffices(self, seed):
        generator = np.random.default_rng(seed)
        for _ in range(50):  # The mean of equal floats is often a rounding error above them.
            costs = thresholds.Costs(np.cumsum(generator.uniform(size=3)), np.zeros(2))
            answers = random_answers(997, seed)
            outcomes = thresholds.single(answers, costs)
            self.assertLen(thresholds.within(outcomes, costs.straight[0]).exits, 997)

    def test_a_useless_exit_is_skipped(self):
        generator = np.random.default_rng(0)
        confidence = generator.uniform(size=(2, 200))
        correct = np.stack([np.zeros(200, bool), np.ones(200, bool)])
        answers = thresholds.Answers(confidence, correct)
        costs = thresholds.Costs(np.array([2.0, 3.0]), np.array([1.0]))
        best = thresholds.within(thresholds.single(answers, costs), 10.0)
        self.assertEqual((best.thresholds, best.cost), ((thresholds.SKIP,), 3.0))

    def test_no_budget_too_small(self):
        with self.assertRaisesRegex(ValueError, "at least 2, .*Received: budget=1.5"):
            thresholds.within(thresholds.geometric(ANSWERS, COSTS), 1.5)

    def test_equal_confidences_leave_together(self):
        confidence = np.array([[0.5, 0.5, 0.5, 0.1], [0.0] * 4])
        correct = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
        answers = thresholds.Answers(confidence, correct)
        costs = thresholds.Costs(np.array([1.0, 9.0]), np.array([1.0]))
        for fitted in thresholds.geometric(answers, costs):
            leaving = thresholds.leave(confidence, fitted.thresholds) == 0
            self.assertLen(set(leaving[:3]), 1)
            outcome = thresholds.simulate(answers, costs, fitted.thresholds)
            self.assertEqual((outcome.accuracy, outcome.cost), (fitted.accuracy, fitted.cost))
