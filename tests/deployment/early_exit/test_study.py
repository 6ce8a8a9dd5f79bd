"""Costs of stages, and a whole study, against what images and clocks of the tests make them."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.deployment import latency
from ipkd_tf.deployment.early_exit import costs, study, thresholds
from ipkd_tf.models import cost
from ipkd_tf.reports import early_exit
from tests.deployment.early_exit import small


class FakeClassifier:
    """Takes, by a clock of its own, so many milliseconds for each body and head."""

    bodies, heads = (4.0, 2.0, 0.0), (1.0, 3.0, 5.0)

    def __init__(self, network, limits, confidence, temperatures):
        self.now, self.calls, self.temperatures = 0.0, 0, temperatures

    def __call__(self, images, limits):
        self.calls += 1
        # Whatever the image, nobody is sure with such temperatures, but all leave at 0.
        assert min(self.temperatures) >= 1e6
        for exit, limit in enumerate([*limits, 0.0]):
            self.now += self.bodies[exit] / 1e3 + (limit <= 1) * self.heads[exit] / 1e3
            if limit == 0:
                break
        # A hiccup now and then must not count.
        self.now += 0.1 if self.calls % 13 == 0 else 0.0
        return {"exit": tf.constant([exit])}


class CostsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*small.FAMILIES)
    def test_multiply_adds(self, family):
        network = small.network(family)
        found = costs.multiply_adds(network)
        everything = found.leaving([1.0, 1.0])[-1]
        self.assertEqual(everything, cost.multiply_adds(network))
        self.assertEqual(found.straight[-1], cost.multiply_adds(network.submodel(2)))

    def test_milliseconds_are_those_of_the_stages(self):
        network = small.network("msdnet_small")
        classifier = FakeClassifier(network, None, None, [np.inf])
        with (
            mock.patch.object(costs, "EarlyExitClassifier", lambda *arguments: classifier),
            mock.patch.object(latency.time, "perf_counter", lambda: classifier.now),
        ):
            found = costs.milliseconds(network, small.IMAGES[:1], warmup=1, repeats=9)
        self.assertAllClose(found.straight, [5.0, 9.0, 11.0])
        self.assertAllClose(found.asking, [1.0, 3.0])
        self.assertAllClose(found.leaving([1.0, 1.0]), [5.0, 10.0, 15.0])
        self.assertAllClose(found.leaving([2.0, 1.0]), [5.0, 9.0, 14.0])


def made_up(seed, images=1000):
    """Logits of three sub-models that know more and more about the labels, and are too sure.

    With unit normal noise and evidence e for the right class, e times the noisy evidence is the
    calibrated logit; given is 6 times, so the temperatures are 6 / e.
    """
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, images)
    logits = generator.normal(size=(3, images, 4))
    logits[:, np.arange(images), labels] += np.array([[2.0], [2.25], [3.0]])
    return 6.0 * logits.astype(np.float32), labels


COSTS = thresholds.Costs(np.array([2e6, 4e6, 8e6]), np.array([1e6, 1e6]))


class StudyTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.study = study.fit(small.network("msdnet_small"), made_up(0), made_up(1), costs=COSTS)
        cls.rows = cls.study.curve()

    def test_sub_models(self):
        logits, labels = made_up(1)
        for row, one, evidence in zip(self.study.submodels, logits, (2, 2.25, 3), strict=True):
            self.assertEqual(row["accuracy"], np.mean(one.argmax(-1) == labels))
            self.assertNear(row["temperature"], 6 / evidence, 0.5)
            self.assertLess(row["ece_after"], row["ece_before"])
        self.assertEqual(
            [row["name"] for row in self.study.submodels], ["exit_1", "exit_2", "exit_3"]
        )
        self.assertEqual([row["cost"] for row in self.study.submodels], [2e6, 4e6, 8e6])

    def test_without_calibration_logits_are_as_they_are(self):
        logits, labels = made_up(0)
        answers = study.answers_of(logits, labels, (1.0, 1.0, 2.0), "probability")
        exponentials = np.exp(np.array([1, 1, 0.5])[:, None, None] * logits.astype(np.float64))
        expected = (exponentials / exponentials.sum(-1, keepdims=True)).max(-1)
        self.assertAllClose(answers.confidence, expected, rtol=0, atol=1e-6)

    def test_curve_is_on_the_test_images_with_thresholds_of_the_held_out_ones(self):
        self.assertLen(self.rows, 3 * (2 * 4 + 1))
        for row in self.rows:
            if row["method"] == "oracle":
                continue
            self.assertLessEqual(row["held_out_cost"], row["budget"])
            for answers, prefix in ((self.study.test, ""), (self.study.held_out, "held_out_")):
                outcome = thresholds.simulate(answers, COSTS, row["thresholds"])
                self.assertEqual(outcome.accuracy, row[f"{prefix}accuracy"])
                self.assertEqual(outcome.cost, row[f"{prefix}cost"])
            self.assertNear(sum(row["shares"]), 1.0, 1e-9)

    def test_early_exit_is_worth_it_and_less_than_ideal(self):
        at = {row["method"]: row for row in self.rows if row["budget"] == 4e6}
        self.assertGreater(at["early_exit"]["accuracy"], at["single"]["accuracy"] + 0.02)
        self.assertGreater(at["oracle"]["accuracy"], at["early_exit"]["accuracy"])
        for row in self.rows:
            if row["method"] == "early_exit":
                single = thresholds.within(self.study.choices["single"], row["budget"])
                self.assertGreaterEqual(row["held_out_accuracy"], single.accuracy)

    def test_a_network_of_one_output(self):
        image = keras.Input((8, 8, 3))
        network = keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(image)))
        logits, labels = made_up(0)
        with self.assertRaisesRegex(ValueError, "at least two sub-models. Received: submodels="):
            study.fit(network, (logits[0], labels), (logits[0], labels))

    def test_text_table_and_figure(self):
        text = early_exit.text(self.study, self.rows, "multiply_adds").splitlines()
        self.assertLen(text, 1 + 3 + 2 + 1 + 9)
        last = {row["method"]: f"{100 * row['accuracy']:.2f}" for row in self.rows[-3:]}
        for method in last:
            self.assertIn(last[method], text[-1])
        frame = early_exit.frame(self.study, self.rows)
        self.assertLen(frame, len(self.rows))
        row = frame[(frame["method"] == "early_exit") & (frame["budget"] == 4e6)].iloc[0]
        fitted, _ = self.study.within(4e6)
        self.assertEqual(tuple(row[["threshold_exit_1", "threshold_exit_2"]]), fitted.thresholds)
        self.assertNear(row[[f"share_exit_{k}" for k in (1, 2, 3)]].sum(), 1.0, 1e-9)
        path = self.create_tempdir().full_path + "/adapt.png"
        early_exit.draw(self.study, self.rows, "multiply_adds", "title", path)
        with open(path, "rb") as file:
            self.assertEqual(file.read(4), b"\x89PNG")
