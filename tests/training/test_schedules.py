"""Learning rates at hand-worked steps."""

import math

import keras
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.training import schedules
from ipkd_tf.training.experiment import Experiment


class LearningRateTest(tf.test.TestCase, parameterized.TestCase):
    def rates(self, steps, **settings):
        schedule = schedules.learning_rate(Experiment(**settings), steps_per_epoch=10)
        restored = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(schedule)
        )
        rates = [float(schedule(tf.constant(step, tf.int64))) for step in steps]
        self.assertEqual(rates, [float(restored(tf.constant(s, tf.int64))) for s in steps])
        return rates

    def test_the_rate_drops_at_the_first_step_of_an_epoch(self):
        rates = self.rates(
            [0, 19, 20, 39, 40, 999],
            learning_rate=0.4,
            learning_rate_drops="2,4",
            learning_rate_drop_factor=0.5,
        )
        self.assertAllClose(rates, [0.4, 0.4, 0.2, 0.2, 0.1, 0.1])

    @parameterized.parameters(
        {"schedule": "constant", "learning_rate_drops": "1"},
        {"schedule": "step", "learning_rate_drops": ""},
    )
    def test_a_rate_without_drops_stays(self, **settings):
        self.assertAllClose(self.rates([0, 1, 500], learning_rate=0.3, **settings), [0.3] * 3)

    def test_cosine_ends_at_zero_with_the_last_epoch(self):
        rates = self.rates([0, 10, 20, 40], learning_rate=0.2, schedule="cosine", epochs=4)
        self.assertAllClose(rates, [0.2, 0.1 * (1 + math.cos(math.pi / 4)), 0.1, 0.0])

    def test_linear_ends_at_zero_with_the_last_epoch(self):
        rates = self.rates([0, 10, 20, 40], learning_rate=0.2, schedule="linear", epochs=4)
        self.assertAllClose(rates, [0.2, 0.15, 0.1, 0.0])

    def test_exponential_falls_at_each_epoch(self):
        settings = {"schedule": "exponential", "learning_rate_drop_factor": 0.5}
        rates = self.rates([0, 9, 10, 20, 35], learning_rate=0.4, **settings)
        self.assertAllClose(rates, [0.4, 0.4, 0.2, 0.1, 0.05])

    def test_schedules_of_keras_count_in_epochs(self):
        restarts = {
            "schedule": "cosine_restarts",
            "schedule_arguments": '{"first_decay_epochs": 2}',
        }
        # Down to the half of the first 20 steps, then anew over 40.
        rates = self.rates([0, 10, 20, 40], learning_rate=0.2, **restarts)
        self.assertAllClose(rates, [0.2, 0.1, 0.2, 0.1])
        arguments = '{"decay_epochs": 1, "decay_rate": 0.5}'
        inverse = {"schedule": "inverse_time", "schedule_arguments": arguments}
        rates = self.rates([0, 10, 20], learning_rate=0.3, **inverse)
        self.assertAllClose(rates, [0.3, 0.2, 0.15])  # 0.3 / (1 + 0.5 * epochs)
        arguments = '{"decay_epochs": 2, "end_learning_rate": 0.1, "power": 2}'
        polynomial = {"schedule": "polynomial", "schedule_arguments": arguments}
        rates = self.rates([0, 10, 20, 99], learning_rate=0.5, **polynomial)
        self.assertAllClose(rates, [0.5, 0.2, 0.1, 0.1])  # 0.1 + 0.4 * (1 - share)^2
        with self.assertRaisesRegex(ValueError, "arguments of schedule=inverse_time.*decay_rate"):
            self.rates([0], schedule="inverse_time", schedule_arguments='{"decay_epochs": 1}')

    def test_warm_up_rises_from_zero_and_ends(self):
        rates = self.rates(
            [0, 5, 19, 20, 30],
            learning_rate=1.0,
            warmup_epochs=2,
            learning_rate_drops="3",
        )
        self.assertAllClose(rates, [0.0, 0.25, 0.95, 1.0, 0.1])


if __name__ == "__main__":
    tf.test.main()
