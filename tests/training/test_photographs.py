"""Runs on photographs in files: as in memory, resumed exactly, with broken ones skipped."""

import contextlib
import io
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from ipkd_tf.training import loop, summary
from tests.training.test_loop import InterruptAfter, TrainingTest


class PhotographsTest(TrainingTest):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.object(summary, "draw"))
        for number in range(40):
            path = self.directory / f"photos/class_{number % 2}/{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.RandomState(number).randint(0, 256, (16, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path)

    def experiment(self, workdir="run", **settings):
        photographs = {
            "dataset": f"folder:{self.directory / 'photos'}",
            "centre_crop": 0.875,
            "train_examples": 0,
            "test_examples": 0,
            "validation": "holdout:8",
            "batch_size": 6,
            "model": "tests.training.test_loop:tiny_network",
        }
        return super().experiment(workdir, **photographs, **settings)

    def run_once(self, workdir, *callbacks, **settings):
        """Returns the result, and what was printed."""
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            return loop.run(self.experiment(workdir, **settings), callbacks), printed.getvalue()

    def test_in_memory_and_on_disk_one_history(self):
        _, printed = self.run_once("memory")
        self.assertIn("8 test, in memory)", printed)
        _, printed = self.run_once("disk", memory="0MB")
        self.assertIn("8 test, read from files)", printed)
        self.assert_same_run("memory", "disk")

    def test_goes_on_exactly_and_names_what_it_skipped(self):
        settings = {"resized_crop": 0.3, "jitter": 0.4, "skip_broken": 1, "epochs": 2}
        broken = self.directory / "photos/class_1/07.jpg"
        broken.write_bytes(b"broken")
        result, _ = self.run_once("straight", **settings)
        reason = "cannot identify image file"
        self.assertEqual([*result["skipped"]], [str(broken)])
        self.assertIn(reason, result["skipped"][str(broken)])
        with self.assertRaises(KeyboardInterrupt):
            self.run_once("again", InterruptAfter(1, 2), **settings)
        resumed, _ = self.run_once("again", **settings)
        self.assert_same_run("straight", "again")
        self.assertEqual(resumed["skipped"], result["skipped"])

    def test_a_file_that_breaks_ends_the_run_by_its_name(self):
        file = self.directory / "photos/class_0/06.jpg"
        whole = file.read_bytes()
        spoil = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: file.write_bytes(bytes(len(whole)))
        )
        with self.assertRaisesRegex(ValueError, f"(?s)1 of 40 .*{file}: cannot identify"):
            self.run_once("run", spoil, memory="0MB")
        result, _ = self.run_once("run", memory="0MB", skip_broken=1)
        self.assertEqual((result["state"], [*result["skipped"]]), ("finished", [str(file)]))
        file.unlink()  # What is gone makes other data of it.
        with self.assertRaisesRegex(ValueError, "not those the run was trained on"):
            self.run_once("run", memory="0MB", epochs=4)


if __name__ == "__main__":
    tf.test.main()
