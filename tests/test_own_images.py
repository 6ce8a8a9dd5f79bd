"""The README's way from images of one's own to files that classify them, in small."""

import contextlib
import io
import pathlib

import numpy as np
from absl.testing import parameterized
from PIL import Image

from ipkd_tf.deployment import early_exit
from ipkd_tf.deployment.early_exit.runner import StageRunner
from ipkd_tf.tools import classify, demo, export
from ipkd_tf.training import finished_run, loop
from ipkd_tf.training.experiment import Experiment
from tests.tools.test_programs import run_program

COLORS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (220, 30, 20)}


def _write_images(root, classes, count, shape=(8, 8)):
    generator = np.random.default_rng(0)
    for name in classes:
        folder = pathlib.Path(root, name)
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(COLORS[name] + generator.normal(0, 20, (*shape, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


class OwnImagesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def _train(self, name, **settings):
        usual = {
            "model": "tests.models.two_exits:TwoExits",
            "dataset": f"folder:{self.root / name}",
            "validation": "test",
            "batch_size": 8,
            "crop_padding": 0,
            "schedule": "constant",
        }
        workdir = str(self.root / "runs" / name)
        experiment = Experiment(**{**usual, "workdir": workdir, **settings})
        with contextlib.redirect_stdout(io.StringIO()):
            loop.run(experiment)
        return self.root / "runs" / name

    def test_train_fine_tune_export_classify(self):
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

    @parameterized.parameters(
        ("grey", (28, 28, 1), "litert", {"dataset": "digits", "image_size": "28x28", "grey": True}),
        ("wide", (24, 32, 3), "onnx", {"rand_augment": 1}),
    )
    def test_grey_and_not_square(self, name, shape, format, settings):
        if name == "wide":
            _write_images(self.root / name, COLORS, 20, (24, 32))
        network = {
            "model": "msdnet_small",
            "model_arguments": '{"blocks": 2, "base": 1, "step": 1, "exit_channels": 8}',
        }
        examples = {"train_examples": 40, "test_examples": 12}
        directory = self._train(name, epochs=1, crop_padding=1, **network, **examples, **settings)
        run = finished_run.open_run(directory)
        images = run.splits.test.images()
        self.assertEqual((run.network.inputs[0].shape[1:], images.shape[1:]), (shape, shape))
        status, out, err = run_program(
            export, f"--run={directory}", "--submodel=exit_2", f"--format={format}"
        )
        self.assertEqual((status, err), (0, ""), out)
        image = Image.fromarray(images[0].squeeze())
        image.save(self.root / "image.png")
        best = run.network.predict_on_batch(images[:1])[1].argmax()
        best = run.splits.dataset.class_names[best]
        status, out, _ = run_program(
            classify, f"--model={directory}/export/exit_2", str(self.root / "image.png"), "--top=1"
        )
        self.assertEqual(status, 0)
        self.assertRegex(out, f"image.png: {best} [0-9.]+ %$")
        self.assertEqual(demo.Demo(run).answer(image)[1]["class"], best)
        classifier = early_exit.EarlyExitClassifier(run.network, [0.4])
        exits = classifier(images)["exit"].numpy()
        early_exit.export(classifier, directory / "early", format, images, exits)
        self.assertTrue((StageRunner(directory / "early")(images)["exit"] == exits).all())

    def test_a_network_for_other_images_is_refused(self):
        _write_images(self.root / "two", ["blue", "red"], 20)
        for settings in (
            {"grey": True},
            {"model": "tests.models.any_width:AnyWidth", "grey": True},
        ):
            with self.assertRaisesRegex(ValueError, r"for images \(8, 8, 1\).*\(8, 8, 3\)"):
                self._train("two", epochs=1, **settings)
