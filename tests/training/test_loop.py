"""The real loop on a tiny network: outputs, exact resume, refusals."""

import csv
import dataclasses
import functools
import json
import pathlib
import tempfile
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import data, models
from ipkd_tf.distillation.distiller import InplaceDistiller
from ipkd_tf.training import assembly, loop, resume, summary
from ipkd_tf.training.experiment import Experiment
from ipkd_tf.training.sigterm import Sigterm
from ipkd_tf.training.splits import read_splits


def tiny_network(num_classes, image_size, mean, std, filters=16):
    """Two exits, with everything that has a state: batch normalisation and dropout."""
    images = keras.Input([image_size, image_size, 3], name="image")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(filters, 3, strides=2, name="conv")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.5, name="norm")(x))
    x = keras.layers.Dropout(0.1)(keras.layers.Flatten()(x))
    early = keras.layers.Dense(num_classes, name="exit_1")(x)
    x = keras.layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(images, [early, keras.layers.Dense(num_classes, name="exit_2")(x)])


class InterruptAfter(keras.callbacks.Callback):
    """Ctrl-C at the end of an epoch, or in the middle of the one that follows."""

    def __init__(self, epoch, batches=0):
        super().__init__()
        self.epoch, self.batches = epoch, batches

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch and not self.batches:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        self.seen = getattr(self, "seen", 0) + 1
        if self.batches and self.seen == self.epoch * self.params["steps"] + self.batches:
            raise KeyboardInterrupt


class ForgetInEpoch(keras.callbacks.Callback):
    """Sets all weights to 0 before an epoch's validation, so that it is not the best."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.forgets = epoch + 1 == self.epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.forgets:
            network = self.model.network
            network.set_weights([np.zeros_like(weights) for weights in network.get_weights()])


class TrainingTest(tf.test.TestCase, parameterized.TestCase):
    @pytest.fixture(autouse=True)
    def _strategy(self, mirrored):
        self.mirrored = mirrored

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)

    def experiment(self, workdir="run", **settings):
        tiny = {
            "model": f"{__name__}:tiny_network",
            "image_size": 8,
            "train_examples": 200,
            "test_examples": 60,
            "validation": "holdout:40",
            "flip": False,
            "crop_padding": 1,
            "epochs": 3,
            "batch_size": 16,
            "learning_rate": 0.1,
            "learning_rate_drops": "2",
            "workdir": str(self.directory / workdir),
        }
        return Experiment(**{**tiny, **settings})

    def history(self, workdir="run"):
        with open(self.directory / workdir / "history.csv") as file:
            return [{**row, "seconds": None} for row in csv.DictReader(file)]

    def weights(self, workdir="run", which="last"):
        return keras.models.load_model(self.directory / workdir / f"{which}.keras").get_weights()

    def assert_same_run(self, first, second):
        self.assertEqual(self.history(first), self.history(second))
        for which in ("best", "last"):
            pairs = zip(self.weights(first, which), self.weights(second, which), strict=True)
            for left, right in pairs:
                np.testing.assert_array_equal(left, right)


class OutputsTest(TrainingTest):
    def test_a_run_leaves_everything_needed_to_judge_and_repeat_it(self):
        experiment = self.experiment(name="tiny", method="ipkd")
        result = loop.run(experiment)
        run = self.directory / "run"
        self.assertCountEqual(
            [path.name for path in run.iterdir()],
            [
                *("flags.txt", "environment.json", "history.csv", "result.json", "checkpoints"),
                *("best.keras", "last.keras", "training_curve.png", "accuracy_multiply_adds.png"),
                *("training_curve.pdf", "accuracy_multiply_adds.pdf", ".lock"),
            ],
        )
        self.assertEqual(json.loads((run / "result.json").read_text()), result)
        self.assertEqual(result["settings"], dataclasses.asdict(experiment))
        self.assertEqual(result["examples"], {"train": 160, "validation": 40, "test": 60})
        self.assertEqual(
            json.loads((run / "environment.json").read_text())["keras"], keras.__version__
        )

        rows = self.history()
        self.assertEqual([row["epoch"] for row in rows], ["1", "2", "3"])
        self.assertEqual([float(row["learning_rate"]) for row in rows], [0.1, 0.1, 0.01])
        accuracies = [float(row["val_avg_accuracy"]) for row in rows]
        self.assertEqual(result["best_epoch"], 1 + int(np.argmax(accuracies)))
        self.assertGreater(max(accuracies), 0.3)

    @parameterized.parameters("best", "last")
    def test_rows_are_the_scores_of_the_saved_network(self, which):
        experiment = self.experiment()
        result = loop.run(experiment, [ForgetInEpoch(3)])
        self.assertLess(result["best_epoch"], result["last_epoch"])
        test = read_splits(experiment).test
        network = keras.models.load_model(self.directory / "run" / f"{which}.keras")
        for row, logits in zip(
            result[which], network.predict(test.images(), verbose=0), strict=True
        ):
            self.assertAllClose(row["accuracy"], np.mean(logits.argmax(-1) == test.labels))
        self.assertEqual([row["name"] for row in result[which]], ["exit_1", "exit_2"])

    def test_on_two_devices(self):
        with mock.patch.object(assembly, "make_strategy", return_value=self.mirrored):
            result = loop.run(self.experiment(epochs=1, batch_size=20))
        self.assertEqual(result["last_epoch"], 1)


@functools.cache
def _straight_directory(settings):
    return tempfile.TemporaryDirectory(prefix="straight_run")


def straight_run(experiment, **settings):
    """Trains once, without interruption, for all tests; returns the directory of the run."""
    directory = _straight_directory(tuple(settings.items())).name
    loop.run(experiment(directory, **settings))
    return directory


@keras.saving.register_keras_serializable("test_loop")
class SharedStatistics(models.FlexibleNetwork):
    """Two exits behind one statistic, which only `recalibrate` sets."""

    needs_recalibration = True

    def __init__(self, num_classes, image_size, mean=None, std=None, **kwargs):
        images = keras.Input([image_size, image_size, 3], name="image")
        x = keras.layers.BatchNormalization(scale=False, center=False, name="norm")(images)
        x = keras.layers.Flatten()(x)
        exits = [keras.layers.Dense(num_classes, name=f"exit_{k}")(x) for k in (1, 2)]
        super().__init__(inputs=images, outputs=exits, submodels=["exit_1", "exit_2"], **kwargs)
        self.calls = []

    def recalibrate(self, which, batches):
        batches = list(batches)
        pixels = np.concatenate(batches).astype(np.float64)
        self.get_layer("norm").moving_mean.assign(pixels.mean((0, 1, 2)))
        self.calls.append((which, [len(batch) for batch in batches]))


class RecalibrationTest(TrainingTest):
    def test_before_each_validation_and_in_what_is_saved(self):
        self.enter_context(mock.patch.object(summary, "draw"))
        settings = {"model": f"{__name__}:SharedStatistics", "epochs": 2, "ema": 0.5}
        recorder = keras.callbacks.Callback()
        loop.run(self.experiment(**settings), [recorder])
        # All training images are one batch of the ten of 200 that would be enough.
        names = ["exit_1", "exit_2"] * 2
        self.assertEqual(recorder.model.network.calls, [(name, [160]) for name in names])
        network = keras.models.load_model(self.directory / "run" / "best.keras")
        trained_on = read_splits(self.experiment()).train.images().mean((0, 1, 2))
        self.assertAllClose(network.get_layer("norm").moving_mean, trained_on, 1e-5)


class ResumeTest(TrainingTest):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.object(summary, "draw"))  # the slowest part of a tiny run
        self.straight = straight_run(self.experiment)

    @parameterized.parameters(
        {"epoch": 1, "batches": 0}, {"epoch": 2, "batches": 7}, {"epoch": 0, "batches": 2}
    )
    def test_an_interrupted_run_ends_as_one_that_was_not(self, epoch, batches):
        with self.assertRaises(KeyboardInterrupt):
            loop.run(self.experiment("broken"), [InterruptAfter(epoch, batches)])
        if (result := self.directory / "broken" / "result.json").exists():
            self.assertEqual(json.loads(result.read_text())["state"], "running")
        loop.run(self.experiment("broken"))
        self.assert_same_run(self.straight, "broken")

    def test_lambda_rises_on_where_it_was(self):
        settings = {"epochs": 2, "distillation_ramp": 0.8, "label_weight": "full"}
        straight = self.experiment("straight", **settings)
        loop.run(straight)
        with self.assertRaises(KeyboardInterrupt):
            loop.run(self.experiment("broken", **settings), [InterruptAfter(0, 7)])
        loop.run(self.experiment("broken", **settings))
        self.assert_same_run("straight", "broken")
        soft = [float(row["soft_loss"]) for row in self.history("straight")]
        self.assertGreater(soft[1], soft[0])  # Of 20 steps the first 16 rise.

    def test_more_epochs_go_on_where_the_run_ended(self):
        loop.run(self.experiment("grown", epochs=1))
        result = loop.run(self.experiment("grown"))
        self.assertEqual(result["last_epoch"], 3)
        self.assert_same_run(self.straight, "grown")

    def test_interrupted_between_the_checkpoint_and_the_best_network(self):
        loop.run(self.experiment("straight", epochs=1))
        with (
            mock.patch.object(resume, "save_network", side_effect=KeyboardInterrupt),
            self.assertRaises(KeyboardInterrupt),
        ):
            loop.run(self.experiment("broken", epochs=1))
        loop.run(self.experiment("broken", epochs=1))
        self.assert_same_run("straight", "broken")

    def test_a_finished_run_is_not_run_again(self):
        result = loop.run(self.experiment(epochs=1))
        with mock.patch.object(loop.splits, "read_splits", side_effect=AssertionError):
            self.assertEqual(loop.run(self.experiment(epochs=1)), result)

    def test_a_lost_history_is_written_again(self):
        loop.run(self.experiment("lost", epochs=2))
        (self.directory / "lost" / "history.csv").unlink()
        loop.run(self.experiment("lost"))
        self.assert_same_run(self.straight, "lost")

    def test_statistics_of_a_normalization_take_effect(self):
        pixels = np.float32([[0, 2], [4, 8]])

        def build(data):
            features = keras.Input([2])
            normalization = keras.layers.Normalization()
            normalization.adapt(data)
            logits = keras.layers.Dense(2, kernel_initializer="ones", name="exit_1")
            distiller = InplaceDistiller(
                keras.Model(features, [logits(normalization(features))]), teachers="none"
            )
            distiller.compile(optimizer="sgd")
            keeper = resume.Keeper(self.directory, distiller, {}, 1, 60, Sigterm())
            return distiller.network, keeper

        first, keeper = build(pixels)
        keeper.on_epoch_begin(0)
        keeper.on_epoch_end(0, {"val_avg_accuracy": 1.0})
        second, keeper = build(10 * pixels)
        self.assertNotAllClose(second(pixels), first(pixels))
        self.assertTrue(keeper.restore())
        self.assertAllClose(second(pixels), first(pixels))


class HistoryTest(TrainingTest):
    def test_the_learning_rate_is_the_highest_of_the_epoch(self):
        self.enter_context(mock.patch.object(summary, "draw"))
        loop.run(self.experiment(epochs=2, warmup_epochs=1, schedule="constant"))
        rates = [float(row["learning_rate"]) for row in self.history()]
        self.assertAllClose(rates, [0.09, 0.1])  # ten steps from 0 to 0.1, which the 11th has


class BuildTest(TrainingTest):
    def build(self, **settings):
        experiment = self.experiment(**settings)
        return assembly.build(experiment, read_splits(experiment))

    def test_methods_share_initial_weights_at_equal_seed(self):
        first = self.build(method="none").network.get_weights()
        second = self.build(method="ipkd_ta_1").network.get_weights()
        other = self.build(method="none", seed=1).network.get_weights()
        for one, two in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, two)
        self.assertNotAllClose(first[0], other[0])

    def test_methods_share_order_and_augmentation_at_equal_seed(self):
        def batches(**settings):
            experiment = self.experiment(rotation=15.0, cutout=2, flip=True, **settings)
            splits = read_splits(experiment)
            stream = loop.splits.training_batches(experiment, splits, 0, (0, 1)).take(
                14
            )  # an epoch is 10
            return [array.tobytes() for batch in stream.as_numpy_iterator() for array in batch]

        first = batches(method="none")
        for method in ("ipkd", "ipkd_ta_1", "ipkd_ta_m"):
            self.assertEqual(batches(method=method), first)
        self.assertNotEqual(batches(method="none", seed=1), first)

    def test_seeds_share_the_data(self):
        first, second = (read_splits(self.experiment(seed=s)) for s in (0, 1))
        np.testing.assert_array_equal(first.train.images(), second.train.images())
        np.testing.assert_array_equal(first.validation.images(), second.validation.images())

    def test_held_out_images_are_not_trained_on(self):
        splits = read_splits(self.experiment(validation="holdout:0.25"))
        self.assertEqual(splits.examples(), {"train": 150, "validation": 50, "test": 60})
        trained = {image.tobytes() for image in splits.train.images()}
        self.assertFalse(trained & {image.tobytes() for image in splits.validation.images()})

    def test_the_papers_protocol_validates_on_the_test_images(self):
        splits = read_splits(self.experiment(validation="test"))
        self.assertEqual(splits.examples(), {"train": 200, "validation": 60, "test": 60})
        self.assertIs(splits.validation, splits.test)

    def test_settings_reach_the_augmentation(self):
        settings = {
            "crop_padding": 2,
            "flip": True,
            "rotation": 5.0,
            "cutout": 3,
            "mixup": 0.3,
            "label_smoothing": 0.1,
        }
        experiment = self.experiment(**settings)
        splits = read_splits(experiment)
        with mock.patch.object(loop.data, "training") as made:
            loop.splits.training_batches(experiment, splits, 7, (0, 1))
        expected = data.Augmentation(**settings, num_classes=10)
        self.assertEqual(made.call_args.kwargs["augmentation"], expected)

    def test_mixed_labels_are_trained_on_and_validation_keeps_its_own(self):
        result = loop.run(self.experiment(epochs=1, mixup=0.2, label_smoothing=0.1))
        self.assertEqual(result["state"], "finished")
        (row,) = self.history()
        # No prediction of smoothed labels costs less than their entropy, 0.5 nats, per sub-model.
        self.assertGreater(float(row["hard_loss"]), 0.5)
        self.assertGreater(result["best"][0]["accuracy"], 0.1)

    def test_settings_reach_distiller_and_optimizer(self):
        distiller = self.build(
            method="0:1", temperature=2.0, distillation_weight=0.5, divergence="ce", nesterov=True
        )
        self.assertAllEqual(distiller.teachers, [[0, 1], [0, 0]])
        self.assertEqual(
            (distiller.temperature, distiller.distillation_weight, distiller.divergence),
            (2.0, 0.5, "ce"),
        )
        self.assertEqual((distiller.label_weight, distiller.distillation_ramp_steps), ("full", 0))
        accumulated = '{"gradient_accumulation_steps": 4}'
        for arguments, steps in (("{}", 23), (accumulated, 6)):  # 0.75 of 3 epochs of 10 batches
            ramped = self.build(
                distillation_ramp=0.75, label_weight="full", optimizer_arguments=arguments
            )
            self.assertEqual(ramped.distillation_ramp_steps, steps)
            self.assertEqual(ramped.label_weight, "full")
        self.assertTrue(distiller.optimizer.nesterov)

    def test_only_kernels_decay(self):
        distiller = self.build(
            model="slimmable_mobilenet_v1_small",
            image_size=32,
            decay="kernels",
            weight_decay=0.5,
            learning_rate=1.0,
            momentum=0.0,
        )
        variables = distiller.trainable_variables
        before = [np.array(v) for v in variables]
        distiller.optimizer.apply([tf.zeros(v.shape) for v in variables], variables)
        decayed = {
            variable.path
            for variable, old in zip(variables, before, strict=True)
            if not np.array_equal(variable, old)
        }
        pointwise = {f"block_{number}_pointwise/kernel" for number in range(1, 6)}
        self.assertEqual(decayed, {"stem/kernel", "logits/kernel", *pointwise})


class RefusalTest(TrainingTest):
    @parameterized.parameters(
        ({"batch_size": 161}, r"the 160 training images.* Received: batch_size=161$"),
        (
            {"validation": "holdout:200"},
            r"of the 200 training.* Received: validation='holdout:200'$",
        ),
        ({"model": "resnet"}, r"Received: model='resnet'$"),
        ({"model_arguments": '{"depth": 3}'}, "depth"),
        ({"method": "1:0"}, "Received"),
        ({"dataset": "mnits"}, "Received"),
    )
    def test_settings_that_do_not_fit(self, settings, message):
        with self.assertRaisesRegex(ValueError, message):
            loop.run(self.experiment(**settings))
        self.assertFalse((self.directory / "run" / "history.csv").exists())


if __name__ == "__main__":
    tf.test.main()
