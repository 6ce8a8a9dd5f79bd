"""Optimizers of Keras, early stopping and class weights, from settings to what is trained."""

import types

import keras
import numpy as np
from absl.testing import parameterized

from ipkd_tf.training import assembly, loop
from ipkd_tf.training.experiment import OPTIMIZERS, Experiment
from tests.training import test_loop


class OptimizersTest(parameterized.TestCase):
    def optimizer(self, weights=(), **settings):
        settings = {"schedule": "constant", "learning_rate": 0.5, **settings}
        network = types.SimpleNamespace(trainable_variables=weights)
        return assembly._optimizer(Experiment(**settings), 1, network)

    @parameterized.parameters(*OPTIMIZERS)
    def test_each_one_takes_a_step_downhill(self, name):
        optimizer = self.optimizer(optimizer=name, weight_decay=0.0, clip_norm=1.0, ema=0.9)
        self.assertEqual(type(optimizer).__name__.lower(), name)
        self.assertTrue(optimizer.use_ema)
        weight = keras.Variable(np.full([2, 3], 2.0, np.float32), name="kernel")
        optimizer.build([weight])
        optimizer.apply([np.full([2, 3], 4.0, np.float32)])
        self.assertTrue(np.all(np.less(weight, 2.0)))

    def test_adamw_by_hand(self):
        weights = [keras.Variable([2.0], name=name) for name in ("kernel", "bias")]
        optimizer = self.optimizer(
            weights,
            optimizer="adamw",
            optimizer_arguments='{"epsilon": 0.0}',
            weight_decay=0.1,
            decay="kernels",
        )
        optimizer.build(weights)
        optimizer.apply([np.array([0.3], np.float32)] * 2)
        # The first step is as long as the rate, whatever the gradient; decay: 0.5 * 0.1 * 2.
        np.testing.assert_allclose([w.numpy()[0] for w in weights], [1.4, 1.5], rtol=1e-5)

    def test_arguments_that_do_not_fit(self):
        with self.assertRaisesRegex(ValueError, "that the optimizer adamw takes .*optimizer_arg"):
            self.optimizer(optimizer="adamw", optimizer_arguments='{"beta_3": 1}')


class EarlyStoppingTest(test_loop.TrainingTest):
    def test_a_run_ends_when_nothing_gets_better_and_is_then_finished(self):
        # A rate so low that no weight changes, only the statistics of the normalisation.
        settings = {"learning_rate": 1e-12, "schedule": "constant", "early_stopping": 2}
        experiment = self.experiment(epochs=30, **settings)
        result = loop.run(experiment)
        last = result["last_epoch"]
        accuracies = [float(row["val_avg_accuracy"]) for row in self.history()]
        self.assertLen(accuracies, last)
        self.assertLess(last, 30)
        self.assertEqual(result["best_epoch"], accuracies.index(max(accuracies)) + 1)
        self.assertEqual(last, result["best_epoch"] + 2)
        for end in range(3, last):  # Nor were two epochs in vain before.
            self.assertGreater(max(accuracies[end - 2 : end]), max(accuracies[: end - 2]))
        self.assertEqual(loop.run(experiment), result)

        # Interrupted within the last epoch, and at its end, when nothing is left to train.
        again = self.experiment("again", epochs=30, **settings)
        with self.assertRaises(KeyboardInterrupt):
            loop.run(again, [test_loop.InterruptAfter(last - 1, batches=3)])
        with self.assertRaises(KeyboardInterrupt):
            loop.run(again, [test_loop.InterruptAfter(last)])
        loop.run(again)
        self.assert_same_run("run", "again")


class ClassWeightsTest(test_loop.TrainingTest):
    def test_balanced_classes_count_the_same(self):
        # 3 of class 0, 1 of class 1, none of class 2; means over images are 1 with all classes.
        weights = loop.splits._balanced(np.array([0, 0, 1, 0]), 3)
        np.testing.assert_allclose(weights, [4 / 9, 4 / 3, 4 / 3], rtol=1e-6)

    @parameterized.parameters(0.0, 0.3)
    def test_batches_carry_the_weights(self, smoothing):
        splits = loop.splits.read_splits(self.experiment())
        found = {}
        for name in ("none", "balanced"):
            experiment = self.experiment(class_weights=name, label_smoothing=smoothing)
            batches = loop.splits.training_batches(experiment, splits, 0, (0, 1))
            found[name] = [array.numpy() for array in next(iter(batches))]
        images, labels, weights = found["balanced"]
        for array, plain in zip((images, labels), found["none"], strict=True):
            np.testing.assert_array_equal(array, plain)
        expected = loop.splits._balanced(splits.train.labels, 10)
        expected = labels @ expected if smoothing else expected[labels]
        np.testing.assert_allclose(weights, expected, rtol=1e-5)

    def test_a_run_with_them(self):
        result = loop.run(self.experiment(class_weights="balanced", epochs=1, optimizer="adam"))
        self.assertEqual(result["state"], "finished")
