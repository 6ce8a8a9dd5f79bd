"""Runs and files as outside teachers: of a run, of its identity, and in a sweep."""

import functools
import pathlib
import sys
import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import flexible
from ipkd_tf.training import assembly, loop, summary, sweep, teachers
from ipkd_tf.training.experiment import Experiment
from ipkd_tf.training.splits import read_splits
from tests.models import two_exits
from tests.training.test_alone import TINY
from tests.training.test_loop import InterruptAfter


@functools.cache
def trained_teachers():
    """Directory with a finished run in seed0 and in seed1, trained once for all tests."""
    root = tempfile.TemporaryDirectory(prefix="teachers")
    for seed in (0, 1):
        directory = pathlib.Path(root.name, f"seed{seed}")
        loop.run(Experiment(**TINY, method="none", seed=seed, workdir=str(directory)))
    return root


class TeacherTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.object(summary, "draw"))
        self.root = pathlib.Path(self.create_tempdir().full_path)
        self.teachers = trained_teachers().name

    def experiment(self, workdir="student", **settings):
        settings = {"method": "kd", "teacher": f"{self.teachers}/seed{{seed}}", **settings}
        return Experiment(**{**TINY, **settings, "workdir": str(self.root / workdir)})

    def load(self, **settings):
        experiment = self.experiment(**settings)
        return teachers.load(experiment, read_splits(experiment))


class LoadTest(TeacherTest):
    def test_runs_their_sub_models_and_files(self):
        best = models.load(f"{self.teachers}/seed1/best.keras")
        images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("uint8")
        alone = self.root / "alone.keras"
        flexible.cut(best, "early").save(alone)
        text = f"{self.teachers}/seed{{seed}}, {self.teachers}/seed1:early,{alone}"
        early, late = best(images)
        loaded = self.load(teacher=text, seed=1, method="0:t1+t2+t3")
        for model, expected in zip(loaded, (late, early, early), strict=True):
            self.assertAllClose(model(images), expected, 1e-5, 1e-5)

    def test_other_data_are_refused(self):
        for setting in ({"train_examples": 180}, {"validation": "holdout:50"}):
            with self.assertRaisesRegex(ValueError, "the data are not those.*run='.*seed0'"):
                self.load(**setting)

    @parameterized.parameters(
        ("{root}/nothing", "directory of a finished run.*Received: run="),
        ("{root}/nothing.keras", "Expected a .keras file.*Received: path="),
        ("{teachers}/seed0:exit_9", "of these: early, late. Received: submodel='exit_9'"),
    )
    def test_what_is_no_teacher(self, text, message):
        text = text.format(root=self.root, teachers=self.teachers)
        with self.assertRaisesRegex(ValueError, message):
            self.load(teacher=text)

    def test_a_file_of_other_classes_or_images(self):
        for arguments in ({"num_classes": 7}, {"image_size": 16}):
            path = self.root / "other.keras"
            two_exits.TwoExits(**{"image_size": 8, **arguments}).save(path)
            experiment = self.experiment(teacher=str(path))
            with self.assertRaisesRegex(ValueError, "takes the network's images.*t1 with"):
                assembly.build(experiment, read_splits(experiment))

    def test_a_teacher_that_teaches_nobody(self):
        experiment = self.experiment(teacher=f"{self.teachers}/seed0,{self.teachers}/seed1")
        with self.assertRaisesRegex(ValueError, "name t2 in the method.*Received: method='kd'"):
            assembly.build(experiment, read_splits(experiment))


class RunTest(TeacherTest):
    def test_a_student_is_taught_and_the_teacher_stays_as_it_is(self):
        loaded = self.load()
        before = loaded[0].get_weights()
        recorder = keras.callbacks.Callback()
        with mock.patch.object(teachers, "load", return_value=loaded):
            result = loop.run(self.experiment(), [recorder])
        (inside,) = recorder.model._outside.models
        for values in (loaded[0].get_weights(), inside.get_weights()):
            for one, other in zip(values, before, strict=True):
                np.testing.assert_array_equal(one, other)
        self.assertGreater(recorder.model.get_metrics_result()["soft_loss"], 0)
        self.assertEqual(result["teachers"], teachers.identity(self.experiment())["teachers"])
        self.assertEqual(result["examples"], {"train": 160, "validation": 40, "test": 60})

    def test_the_initial_weights_are_those_without_a_teacher(self):
        networks = []
        for settings in ({}, {"method": "none", "teacher": ""}):
            experiment = self.experiment(**settings)
            networks.append(assembly.build(experiment, read_splits(experiment)).network)
        for one, other in zip(*(n.get_weights() for n in networks), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_an_interrupted_run_ends_as_one_that_was_not(self):
        settings = {"method": "0:mean+t1+ema,1:t2", "ema": 0.9, "teacher_dropout": 2, "epochs": 2}
        settings["teacher"] = f"{self.teachers}/seed0,{self.teachers}/seed1:early"
        ends = []
        for workdir, interrupts in (("straight", []), ("broken", [InterruptAfter(1, 3)])):
            recorder = keras.callbacks.Callback()
            experiment = self.experiment(workdir, **settings, checkpoint_minutes=0.0)
            if interrupts:
                with self.assertRaises(KeyboardInterrupt):
                    loop.run(experiment, interrupts)
            loop.run(experiment, [recorder])
            network = keras.models.load_model(self.root / workdir / "last.keras")
            optimizer = [v.numpy() for v in recorder.model.optimizer.variables]
            ends.append([*network.get_weights(), *optimizer])
        for one, other in zip(*ends, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_another_teacher_in_the_same_place_is_refused(self):
        path = self.root / "teacher.keras"
        network = models.load(f"{self.teachers}/seed0/best.keras")
        network.save(path)
        experiment = self.experiment(teacher=str(path))
        digest = teachers.identity(experiment)
        network.save(path)
        self.assertEqual(teachers.identity(experiment), digest)
        loop.run(experiment)
        run = sweep.Run(experiment, [])
        self.assertEqual(run.result["teachers"], digest["teachers"])
        network.set_weights([value + 1e-6 for value in network.get_weights()])
        network.save(path)
        self.assertNotEqual(teachers.identity(experiment), digest)
        self.assertIsNone(run.result)
        for epochs in (1, 2):
            longer = self.experiment(teacher=str(path), epochs=epochs)
            with self.assertRaisesRegex(
                ValueError, "the teachers are not those.*Received: teachers="
            ):
                loop.run(longer)
        path.write_bytes(b"cut off")
        with self.assertRaisesRegex(ValueError, "teacher .*Received: teacher="):
            teachers.identity(experiment)
        path.unlink()  # What was taught is still there to be reported.
        self.assertEqual(run.result["teachers"], digest["teachers"])


class SettingsTest(TeacherTest):
    def test_teachers_are_read(self):
        text = "runs/a/seed{seed}:exit_3, C:/x.keras,b"
        experiment = self.experiment(teacher=text, seed=7)
        expected = (("runs/a/seed7", "exit_3"), ("C:/x.keras", ""), ("b", ""))
        self.assertEqual(experiment.teachers, expected)

    @parameterized.parameters(
        ("kd", ""), ("0:t1", ""), ("ipkd", "runs/a"), ("none", "runs/a"), ("0:mean", "runs/a")
    )
    def test_method_and_teacher_go_together(self, method, teacher):
        with self.assertRaisesRegex(ValueError, f"go together.*method='{method}', teacher="):
            self.experiment(method=method, teacher=teacher)

    def test_no_teacher_between_commas(self):
        with self.assertRaisesRegex(ValueError, "with commas between.*Received: teacher='a,,b'"):
            self.experiment(teacher="a,,b")


class OrderTest(TeacherTest):
    def run_of(self, name, teacher="", method=None):
        method = method or ("kd" if teacher else "none")
        experiment = self.experiment(name, name=name, teacher=teacher, method=method)
        code = f"print({name!r}, file=open({str(self.root / 'log')!r}, 'a'))"
        return sweep.Run(experiment, [sys.executable, "-c", code])

    def test_teachers_come_first_and_else_the_order_stays(self):
        runs = [
            self.run_of("b", f"{self.root}/c:exit_1"),
            self.run_of("a"),
            self.run_of("d", f"{self.root}/b,{self.root}/a,elsewhere", "0:t1+t2+t3"),
            self.run_of("c"),
        ]
        sweep.sweep(runs)
        self.assertEqual((self.root / "log").read_text().split(), ["c", "b", "a", "d"])

    def test_a_circle_is_refused(self):
        runs = [self.run_of(a, f"{self.root}/{b}") for a, b in ("ab", "bc", "ca")]
        with self.assertRaisesRegex(ValueError, "teaches itself. Received: .*/a <- .*/b <- .*/c"):
            sweep.sweep(runs)


if __name__ == "__main__":
    tf.test.main()
