"""The README's way from a folder of images to a file that classifies them, in small."""

import contextlib
import io
import pathlib

import numpy as np
from absl.testing import absltest
from PIL import Image

from ipkd_tf.tools import classify, export
from ipkd_tf.training import loop
from ipkd_tf.training.experiment import Experiment
from tests.tools.test_programs import run_program

COLORS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (220, 30, 20)}


def _write_images(root, classes, count):
    generator = np.random.default_rng(0)
    for name in classes:
        folder = pathlib.Path(root, name)
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(COLORS[name] + generator.normal(0, 20, (8, 8, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


class OwnImagesTest(absltest.TestCase):
    def _train(self, name, **settings):
        experiment = Experiment(
            model="tests.models.two_exits:TwoExits",
            dataset=f"folder:{self.root / name}",
            validation="test",
            batch_size=8,
            crop_padding=0,
            schedule="constant",
            workdir=str(self.root / "runs" / name),
            **settings,
        )
        with contextlib.redirect_stdout(io.StringIO()):
            loop.run(experiment)
        return self.root / "runs" / name

    def test_train_fine_tune_export_classify(self):
        self.root = pathlib.Path(self.create_tempdir().full_path)
        _write_images(self.root / "two", ["blue", "red"], 20)
        _write_images(self.root / "three", COLORS, 20)
        first = self._train("two", epochs=5)
        run = self._train("three", epochs=10, initialize_from=str(first))
        status, out, err = run_program(export, f"--run={run}", "--submodel=late", "--format=litert")
        self.assertEqual((status, err), (0, ""))
        image = self.root / "three" / "green" / "0.png"
        model = run / "export" / "late" / "model.tflite"
        status, out, _ = run_program(classify, f"--model={model}", "--top=1", str(image))
        self.assertEqual(status, 0)
        self.assertStartsWith(out, f"{image}: green ")
