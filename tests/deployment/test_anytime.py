"""Logits one sub-model at a time, and the last ones before a deadline by a clock of the test."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.deployment import anytime
from tests.deployment.export import networks

FAMILIES = ("msdnet_small", "slimmable_mobilenet_v1_small")


class FamiliesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*FAMILIES)
    def test_each_logits_in_turn(self, family):
        network = networks.network(family)
        in_turn = anytime.Anytime(network)
        for batch in (3, 1):
            images = networks.images(batch)
            found = list(in_turn.logits(images))
            self.assertLen(found, 2)
            for a, b in zip(found, network(images), strict=True):
                self.assertAllClose(a, b, rtol=0, atol=1e-5)

    def test_a_deadline(self):
        network, images = networks.network(FAMILIES[0]), networks.images(2)
        everything, in_turn = network(images), anytime.Anytime(network)
        for milliseconds, index in ((1e6, 1), (1e-6, 0)):
            answer = in_turn.within(images, milliseconds)
            self.assertEqual(answer.submodel, f"exit_{index + 1}")
            self.assertAllClose(answer.logits, everything[index], rtol=0, atol=1e-5)

    @parameterized.parameters(0, float("nan"))
    def test_what_makes_no_sense_is_refused(self, milliseconds):
        in_turn = anytime.Anytime(networks.network(FAMILIES[0]))
        with self.assertRaisesRegex(ValueError, f"above 0. Received: milliseconds={milliseconds}"):
            in_turn.within(networks.images(1), milliseconds)


class Clock:
    """Time that passes only while stages compute: so many seconds each, or as the test says."""

    def __init__(self):
        self.now, self.durations, self.ran = 100.0, [0.010, 0.020, 0.030], []
        self.hiccups = {}  # seconds more of a call, by how many calls came before it

    def __call__(self):
        return self.now

    def compute(self, number, x):
        self.now += self.durations[number] + self.hiccups.get(len(self.ran), 0.0)
        self.ran.append(number)
        return x


@keras.saving.register_keras_serializable("tests")
class TakesTime(keras.layers.Layer):
    def __init__(self, clock, number, **kwargs):
        super().__init__(**kwargs)
        self.take = lambda x: clock.compute(number, x)

    def call(self, x):
        return tf.ensure_shape(tf.numpy_function(self.take, [x], tf.float32), x.shape)

    def compute_output_shape(self, input_shape):
        return input_shape


class DeadlineTest(tf.test.TestCase, parameterized.TestCase):
    """Three exits of 10, 20 and 30 ms; exit k answers with k times the input."""

    def setUp(self):
        super().setUp()
        self.clock = Clock()
        image = keras.Input((2,))
        x, outputs = 0 * image, []
        for number in range(3):
            x = TakesTime(self.clock, number)(x + image)
            outputs.append(keras.layers.Activation("linear", name=f"exit_{number + 1}")(x))
        self.anytime = anytime.Anytime(keras.Model(image, outputs), self.clock)
        self.image = np.ones((1, 2), np.float32)
        self.anytime.within(self.image, 1e9)
        self.clock.ran.clear()

    @parameterized.parameters((1, 1), (10.1, 1), (29.9, 1), (30.1, 2), (59.9, 2), (60.1, 3))
    def test_the_last_that_ends_in_time(self, milliseconds, last):
        start = self.clock.now
        answer = self.anytime.within(self.image, milliseconds)
        self.assertEqual(answer.submodel, f"exit_{last}")
        self.assertAllEqual(answer.logits, last * self.image)
        # Nothing was begun that would have been late.
        self.assertEqual(self.clock.ran, list(range(last)))
        self.assertNear(self.clock.now - start, sum([0.010, 0.020, 0.030][:last]), 1e-9)

    def test_a_stage_that_is_late_after_all_does_not_count(self):
        self.clock.durations[1] = 0.050
        answer = self.anytime.within(self.image, 40)
        self.assertEqual((answer.submodel, self.clock.ran), ("exit_1", [0, 1]))
        self.assertAllEqual(answer.logits, self.image)

    def test_a_first_stage_that_is_late_is_all_there_is(self):
        self.clock.durations[0] = 0.050
        answer = self.anytime.within(self.image, 40)
        self.assertEqual((answer.submodel, self.clock.ran), ("exit_1", [0]))

    def test_rehearsals_come_once_for_each_shape(self):
        images = np.ones((2, 2), np.float32)
        for now in (False, True):
            self.clock.ran.clear()
            self.anytime.within(images, 1e9)
            self.assertEqual(self.clock.ran.count(0), 1 if now else 12)

    def test_rehearsals_are_judged_on_the_safe_side_but_not_by_one_hiccup(self):
        images = np.ones((4, 2), np.float32)
        # Call 3 * round + stage; the first two rounds do not count.
        self.clock.hiccups = {3 * 1 + 2: 9.0, 3 * 4 + 2: 9.0}
        self.assertEqual(self.anytime.within(images, 61).submodel, "exit_3")
        self.clock.ran.clear()
        self.clock.hiccups = {3 * number + 2: 0.100 for number in (4, 7, 8)}
        images = np.ones((5, 2), np.float32)
        self.assertEqual(self.anytime.within(images, 159).submodel, "exit_2")
        self.assertEqual(self.anytime.within(images, 161).submodel, "exit_3")

    def test_nothing_is_computed_before_it_is_asked_for(self):
        answers = self.anytime.logits(self.image)
        self.assertEqual(self.clock.ran, [])
        next(answers)
        self.assertEqual(self.clock.ran, [0])
        next(answers)
        self.assertEqual(self.clock.ran, [0, 1])
