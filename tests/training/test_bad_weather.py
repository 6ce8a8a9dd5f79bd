"""What can go wrong while a run trains, and what is lost (docs/robustness.md)."""

import ast
import contextlib
import csv
import dataclasses
import io
import json
import os
import pathlib
import shutil
import signal
import time
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import ipkd_tf
from ipkd_tf import data, models
from ipkd_tf.output import files
from ipkd_tf.training import assembly, averaging, loop, progress, resume, summary
from ipkd_tf.training.sigterm import Terminated
from tests.training import test_loop


class At(keras.callbacks.Callback):
    """Calls a function once, at the given batch of training or validation, counted over all."""

    def __init__(self, function, train_batch=0, test_batch=0):
        super().__init__()
        self.function = function
        self.left = {"train": train_batch, "test": test_batch}

    def on_train_batch_end(self, batch, logs=None):
        self._count("train")

    def on_test_batch_begin(self, batch, logs=None):
        self._count("test")

    def _count(self, kind):
        self.left[kind] -= 1
        if self.left[kind] == 0:
            self.function()


class Forgetful(keras.Model):
    """A family without get_config: its file forgets the image size."""

    def __init__(self, num_classes, image_size=32, mean=None, std=None, **kwargs):
        images = keras.Input([image_size, image_size, 3])
        logits = keras.layers.Dense(num_classes)(keras.layers.Flatten()(images))
        super().__init__(images, [logits], **kwargs)


def crash():
    raise KeyboardInterrupt


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


class WeatherTestCase(test_loop.TrainingTest):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.object(summary, "draw"))
        self.broken = self.directory / "broken"

    def interrupt(self, callback, error=KeyboardInterrupt, **settings):
        with self.assertRaises(error) as caught:
            loop.run(self.experiment("broken", **settings), [callback])
        return str(caught.exception)

    def assert_resumes(self, **settings):
        """The run ends bit for bit as one that was left alone."""
        loop.run(self.experiment("broken", **settings))
        straight = test_loop.straight_run(self.experiment, **settings)
        self.assert_same_run(straight, "broken")
        results = [files.read_json(pathlib.Path(d, "result.json")) for d in (straight, self.broken)]
        for result in results:
            del result["seconds"], result["settings"], result["validation"]["seconds"]
        self.assertEqual(*results)


class ResumeTest(WeatherTestCase):
    def test_goes_on_inside_an_epoch_from_a_checkpoint_by_time(self):
        self.interrupt(At(crash, train_batch=14), checkpoint_minutes=0)
        newest = max((self.broken / "checkpoints").iterdir()).name
        self.assertEqual(newest, "step-0000000014.npz")  # ten steps are an epoch
        self.assert_resumes()

    def test_sigterm_saves_in_the_middle_of_an_epoch(self):
        self.interrupt(At(terminate, train_batch=13), Terminated)
        newest = max((self.broken / "checkpoints").iterdir()).name
        self.assertEqual(newest, "step-0000000014.npz")  # the step after the signal
        self.assert_resumes()

    def test_sigterm_in_validation_repeats_only_the_validation(self):
        self.interrupt(At(terminate, test_batch=2), Terminated, ema=0.9)
        with mock.patch.object(
            loop.splits, "training_batches", wraps=loop.splits.training_batches
        ) as read:
            self.assert_resumes(ema=0.9)
        self.assertEqual([call.args[2] for call in read.call_args_list], [10, 0])

    def test_everything_that_has_a_state(self):
        settings = {
            "precision": "mixed_float16",
            "ema": 0.9,
            "schedule": "cosine",
            "clip_norm": 1.0,
        }
        self.interrupt(At(crash, train_batch=25), checkpoint_minutes=0, **settings)
        self.assert_resumes(**settings)
        self.assertEqual(keras.config.dtype_policy().name, "float32")

    def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(self):
        self.interrupt(At(crash, train_batch=14), checkpoint_minutes=0)
        newest = max((self.broken / "checkpoints").iterdir())
        newest.write_bytes(newest.read_bytes()[:-100])
        with self.assertLogs(level="WARNING") as logs:
            self.assert_resumes()
        self.assertIn("step-0000000014.npz is damaged", logs.output[0])

    def test_killed_while_writing_a_checkpoint(self):
        self.interrupt(At(crash, train_batch=14), checkpoint_minutes=0)
        partial = self.broken / "checkpoints" / ".partial-step-0000000015.npz"
        partial.write_bytes(b"half")
        self.assert_resumes()
        self.assertFalse(partial.exists())

    def test_a_moved_workdir(self):
        self.interrupt(At(crash, train_batch=14), checkpoint_minutes=0)
        shutil.move(self.broken, self.directory / "elsewhere")
        loop.run(self.experiment("elsewhere"))
        self.assert_same_run(test_loop.straight_run(self.experiment), "elsewhere")

    def test_a_clock_that_jumps(self):
        jumps = iter(range(10**9, 0, -(10**5)))
        with mock.patch.object(time, "time", side_effect=lambda: next(jumps)):
            loop.run(self.experiment("broken"))
        with open(self.broken / "history.csv") as file:
            for row in csv.DictReader(file):
                self.assertBetween(float(row["seconds"]), 0, 600)
        self.assert_resumes()

    def test_a_full_disk_at_the_best_network(self):
        def fill(path, *arguments, **settings):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        loop.run(self.experiment("broken", epochs=1))
        before = (self.broken / "best.keras").read_bytes()
        with (
            mock.patch.object(keras.Model, "save", side_effect=fill, autospec=False),
            self.assertRaisesRegex(OSError, "No space left on device"),
        ):
            loop.run(self.experiment("broken"))
        self.assertEqual((self.broken / "best.keras").read_bytes(), before)
        self.assertEmpty(list(self.broken.rglob(".partial*")))
        self.assert_resumes()

    def test_a_full_disk(self):
        savez, written = np.savez, []

        def fill(file, **arrays):
            written.append(file)
            if len(written) > 12:
                file.write(b"half")
                raise OSError(28, "No space left on device")
            savez(file, **arrays)

        with mock.patch.object(np, "savez", side_effect=fill):
            message = self.interrupt(At(crash), OSError, checkpoint_minutes=0)
        self.assertRegex(
            message, r"No space left on device: .*broken/checkpoints/step-\d+\.npz, on"
        )
        self.assertRegex(message, "device mounted at /.* bytes free; .* the same command goes on")
        self.assertLen(list((self.broken / "checkpoints").iterdir()), 2)
        self.assert_resumes()


class FirstEpochIsBestTest(WeatherTestCase):
    """The best network is one that no later epoch replaces: nothing may write over it."""

    settings = {"learning_rate": 1.5, "schedule": "constant"}

    def assert_resumes(self):
        super().assert_resumes(**self.settings)
        self.assertEqual(files.read_json(self.broken / "result.json")["best_epoch"], 1)

    def test_cut_in_a_step(self):
        self.interrupt(At(terminate, train_batch=13), Terminated, **self.settings)
        self.assert_resumes()

    def test_cut_in_a_validation(self):
        self.interrupt(At(terminate, test_batch=5), Terminated, **self.settings)  # 3 an epoch
        newest = max((self.broken / "checkpoints").iterdir()).name
        self.assertEqual(newest, "step-0000000020.npz")
        self.assert_resumes()

    def test_cut_in_the_write_of_the_best_network_and_in_the_next_epoch(self):
        with mock.patch.object(resume, "save_network", side_effect=KeyboardInterrupt):
            self.interrupt(At(crash), **self.settings)
        self.assertFalse((self.broken / "best.keras").exists())
        self.interrupt(At(terminate, train_batch=4), Terminated, **self.settings)
        self.assert_resumes()


@pytest.mark.slow
class ReplicasTest(WeatherTestCase):
    def test_two_replicas_go_on_inside_an_epoch(self):
        settings = {"batch_size": 20, "epochs": 2}
        with mock.patch.object(assembly, "make_strategy", return_value=self.mirrored):
            self.interrupt(At(crash, train_batch=11), checkpoint_minutes=0, **settings)
            self.assert_resumes(**settings)


class RefusalTest(WeatherTestCase):
    def test_two_runs_in_one_workdir(self):
        messages = []

        def start_another():
            try:
                loop.run(self.experiment("broken"))
            except ValueError as error:
                messages.append(str(error))

        loop.run(self.experiment("broken", epochs=1), [At(start_another, train_batch=3)])
        self.assertLen(messages, 1)
        self.assertRegex(messages[0], "another run is writing.*Received: workdir=")

    def test_an_unwritable_workdir(self):
        self.broken.write_text("a file where the directory should be")
        with self.assertRaisesRegex(OSError, "outputs cannot be written.*Received: workdir="):
            loop.run(self.experiment("broken"))
        self.assertEqual(self.broken.read_text(), "a file where the directory should be")

    def test_tensorboard_that_is_not_installed(self):
        with (
            mock.patch("importlib.util.find_spec", return_value=None),
            self.assertRaisesRegex(ValueError, r"pip install 'ipkd_tf\[tensorboard\]'"),
        ):
            loop.run(self.experiment(tensorboard=True))

    def test_several_workers_without_a_cluster(self):
        with self.assertRaisesRegex(ValueError, "TF_CONFIG to list.*strategy='multi_worker'"):
            loop.run(self.experiment(strategy="multi_worker"))

    def test_data_that_changed(self):
        self.interrupt(At(crash, train_batch=14), checkpoint_minutes=0)
        read = loop.splits.read_splits

        def fewer(experiment):
            return read(dataclasses.replace(experiment, train_examples=190))

        before = {path: path.read_bytes() for path in self.broken.rglob("*.*")}
        with (
            mock.patch.object(loop.splits, "read_splits", side_effect=fewer),
            self.assertRaisesRegex(ValueError, r"data are not those.*train=150 \(160 there\)"),
        ):
            loop.run(self.experiment("broken"))
        for path, content in before.items():
            if path.name not in ("flags.txt", "environment.json"):
                self.assertEqual(path.read_bytes(), content, path)

    def test_a_family_whose_files_could_not_be_opened(self):
        with self.assertRaisesRegex(ValueError, "get_config.*Received: model='.*Forgetful'"):
            loop.run(self.experiment(model=f"{__name__}:Forgetful"))
        self.assertFalse((self.directory / "run" / "history.csv").exists())

    def test_a_data_set_of_one_class(self):
        digits = data.read("digits", image_size=8)
        one = dataclasses.replace(
            digits,
            train=digits.train.subset(np.flatnonzero(digits.train.labels == 0)),
            test=digits.test.subset(np.flatnonzero(digits.test.labels == 0)),
            class_names=("zero",),
        )
        with (
            mock.patch.object(data, "read", return_value=one),
            self.assertRaisesRegex(ValueError, "there is only zero. Received: dataset='digits'"),
        ):
            loop.run(self.experiment())


class DivergenceTest(WeatherTestCase):
    def poison(self):
        """Makes a bias not a number."""
        self.network.get_layer("exit_2").bias.assign([np.nan] * 10)

    def diverge(self, step, **settings):
        callback = At(self.poison, train_batch=step)
        callback.set_model = lambda distiller: setattr(self, "network", distiller.network)
        return self.interrupt(callback, FloatingPointError, **settings)

    def test_names_step_rate_and_last_good_checkpoint(self):
        message = self.diverge(step=14)
        self.assertIn("diverged at step 15 (epoch 2), learning rate 0.1", message)
        self.assertIn("broken/checkpoints/step-0000000010.npz, is kept", message)
        self.assertEndsWith(message, "Received: loss=nan")
        self.assert_resumes()

    def test_weights_that_are_not_finite_are_not_kept(self):
        message = self.diverge(step=10)  # the last of an epoch: no loss shows it
        self.assertIn("none yet, is kept", message)
        self.assertFalse((self.broken / "checkpoints").exists())


class AveragesTest(WeatherTestCase):
    def test_the_average_is_evaluated_and_saved_and_training_is_not_disturbed(self):
        averages, weights = [], {}

        def follow():
            kernel = self.network.get_layer("exit_2").kernel.numpy().astype("float64")
            averages.append(0.8 * averages[-1] + 0.2 * kernel if averages else kernel)

        for ema in (0.0, 0.8):
            recorder = keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: follow()
            )
            recorder.set_model = lambda distiller: setattr(self, "network", distiller.network)
            averages.clear()
            loop.run(self.experiment(f"ema{ema}", epochs=2, ema=ema), [recorder])
            weights[ema] = resume.CheckpointFiles(
                self.directory / f"ema{ema}" / "checkpoints"
            ).read()
        last = keras.models.load_model(self.directory / "ema0.8" / "last.keras")
        self.assertAllClose(last.get_layer("exit_2").kernel, averages[-1], 1e-5, 1e-6)
        for name in weights[0.0]:
            if name.startswith("network/"):
                np.testing.assert_array_equal(weights[0.0][name], weights[0.8][name])

    def test_without_averages_nothing_is_exchanged(self):
        model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
        model.compile("sgd")
        before = model.get_weights()
        with averaging.averaged(model):
            np.testing.assert_array_equal(model.get_weights()[0], before[0])


class WatchingTest(WeatherTestCase):
    def test_one_line_per_epoch_and_a_result_that_runs(self):
        states = []

        def look(epoch, logs):
            states.append(json.loads((self.directory / "run" / "result.json").read_text()))

        callback = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: epoch and look(epoch, logs)
        )
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            loop.run(self.experiment(), [callback])
        self.assertEqual([s["state"] for s in states], ["running", "running"])
        self.assertEqual([s["last_epoch"] for s in states], [1, 2])
        self.assertIn(
            "Note: 40 images choose the best epoch, so one of them is 2.5", printed.getvalue()
        )
        self.assertEqual(states[0]["validation"]["epoch"], 1)
        lines = [line for line in printed.getvalue().splitlines() if line.startswith("epoch ")]
        self.assertLen(lines, 3)
        for number, line in enumerate(lines, 1):
            self.assertRegex(
                line, rf"^epoch {number}/3: loss \d.*val_avg_accuracy \d\.\d{{4}}; .* left$"
            )
        self.assertEndsWith(lines[-1], "0:00:00 left")

    def test_a_progress_bar_on_a_terminal(self):
        with mock.patch("sys.stdout.isatty", return_value=True):
            self.assertIsInstance(progress.callbacks()[0], keras.callbacks.ProgbarLogger)

    def test_tensorboard_logs(self):
        pytest.importorskip("tensorboard")
        loop.run(self.experiment(epochs=1, tensorboard=True))
        for part in ("train", "validation"):
            self.assertLen(list((self.directory / "run" / "tensorboard" / part).iterdir()), 1)

    def test_settings_reach_keras_and_tensorflow(self):
        with mock.patch.object(tf.config.experimental, "enable_op_determinism") as enable:
            loop.run(self.experiment(epochs=1, deterministic=True, jit="on"))
        enable.assert_called_once()


class UntrustedFilesTest(tf.test.TestCase, parameterized.TestCase):
    def test_a_network_with_code_in_it_is_refused(self):
        path = self.create_tempdir().full_path + "/lambda.keras"
        inputs = keras.Input([2])
        keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs)).save(path)
        with self.assertRaisesRegex(ValueError, "(?s)lambda"):
            models.load(path)

    def test_nothing_unpickles_or_leaves_safe_mode(self):
        for path in pathlib.Path(ipkd_tf.__file__).parent.rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for word in ("pickle.", "enable_unsafe_deserialization", "allow_pickle=True", "joblib"):
                self.assertNotIn(word, text, str(path))
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.keyword) and node.arg == "safe_mode":
                    self.assertIs(node.value.value, True, str(path))


if __name__ == "__main__":
    tf.test.main()
