"""Statistics of batches, averaged: worked by hand."""

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.models import shared_norm


class RecalibrationTest(tf.test.TestCase):
    def _model(self):
        x = keras.Input((1,))
        return keras.Model(x, keras.layers.BatchNormalization(momentum=0.5, name="norm")(x))

    def test_means_and_variances_are_averaged_over_the_batches(self):
        model = self._model()
        model.get_layer("norm").moving_mean.assign([100.0])
        shared_norm.estimate_statistics(model, [np.array([[0.0], [2.0]]), np.array([[4.0], [8.0]])])
        norm = model.get_layer("norm")
        # Means 1 and 6, variances 1 and 4; the variance of all four numbers would be 8.75.
        self.assertAllClose(norm.moving_mean, [3.5])
        self.assertAllClose(norm.moving_variance, [2.5])
        self.assertEqual(norm.momentum, 0.5)

    def test_layers_see_the_batch_without_dropout(self):
        x = keras.Input((1,))
        dropped = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
        model = keras.Model(x, keras.layers.BatchNormalization(name="second")(dropped))
        shared_norm.estimate_statistics(model, [np.array([[0.0], [2.0]])] * 3)
        second = model.get_layer("second")
        self.assertAllClose(second.moving_mean, [0.0], atol=1e-5)
        self.assertAllClose(second.moving_variance, [1 / 1.001], 1e-4)

    def test_no_batch_is_refused(self):
        with self.assertRaisesRegex(ValueError, "at least one batch.*batches=\\[\\]"):
            shared_norm.estimate_statistics(self._model(), [])
