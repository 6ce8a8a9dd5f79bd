"""The programs from their flags to their files: export, profile, classify."""

import contextlib
import io
import json
import os
import pathlib
import tempfile
import types
from unittest import mock

import keras
import numpy as np
from absl import flags
from absl.testing import parameterized
from PIL import Image

from ipkd_tf import data
from ipkd_tf.deployment import export as exports
from ipkd_tf.deployment import trade_off
from ipkd_tf.output import counter
from ipkd_tf.tools import classify, command, export, profile
from tests.models.two_exits import TwoExits
from tests.training.test_finished_run import write_run


def run_program(program, *arguments):
    """Returns (exit status, stdout, stderr) of a program of ours."""
    values = flags.FlagValues()
    program.define_flags(values)
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(program, "FLAGS", values),
        # Whether it takes long is the machine's affair.
        mock.patch.object(counter, "_FIRST", float("inf")),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = command.run(program.main, values([program.__name__, *arguments]))
    return status or 0, out.getvalue(), err.getvalue()


class ProgramsTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_directory = pathlib.Path(tempfile.mkdtemp())
        cls.network = write_run(cls.run_directory)
        TwoExits(image_size=8).save(cls.run_directory / "last.keras")
        cls.run_flag = f"--run={cls.run_directory}"

    def test_export_by_name(self):
        status, out, err = run_program(
            export, self.run_flag, "--submodel=late", "--format=litert,onnx", "--images=16"
        )
        self.assertEqual((status, err), (0, ""))
        # Three lines that run each file; tests/deployment/export runs them.
        self.assertIn("    model = onnxruntime.InferenceSession(", out)
        self.assertRegex(out, r"late: largest difference .* decisions 100.00% of 16 images, accur")
        directory = self.run_directory / "export" / "late"
        self.assertCountEqual(
            os.listdir(directory), ["model.tflite", "model.onnx", "manifest.json"]
        )
        manifest = json.loads((directory / "manifest.json").read_text())
        self.assertEqual(manifest["submodels"][0]["accuracy"], 0.9)
        self.assertEqual(manifest["run"]["result"]["name"], "toy")
        self.assertEqual(manifest["class_names"], [str(digit) for digit in range(10)])

    @parameterized.parameters(("5k", "early"), ("1M", "late"))
    def test_export_by_multiply_adds(self, budget, name):
        output = self.create_tempdir().full_path
        status, out, _ = run_program(
            export, self.run_flag, f"--budget={budget}", "--format=keras", f"--output={output}"
        )
        self.assertEqual(status, 0)
        self.assertIn(f"within {budget}: {name} with ", out)
        self.assertIn("model.keras", os.listdir(output))

    def test_two_epochs_are_two_networks(self):
        output = self.create_tempdir().full_path
        arguments = [self.run_flag, "--submodel=late", "--format=keras", f"--output={output}"]
        self.assertEqual(run_program(export, *arguments)[0], 0)
        status, _, err = run_program(export, *arguments, "--epoch=last")
        self.assertEqual(status, 1)
        self.assertIn("--overwrite", err)
        self.assertEqual(run_program(export, *arguments, "--epoch=last", "--overwrite")[0], 0)
        manifest = json.loads(pathlib.Path(output, "manifest.json").read_text())
        self.assertEqual(manifest["run"]["epoch"], "last")

    def test_time_comes_with_its_conditions(self):
        rows = [
            {
                "name": name,
                "format": "onnx",
                "accuracy": accuracy,
                "milliseconds": ms,
                "p95_ms": 9.0,
            }
            for name, accuracy, ms in (("early", 0.7, 1.5), ("late", 0.9, 4.0))
        ]
        arguments = ["--budget=2ms", "--format=keras", "--threads=0", "--batch_size=8"]
        arguments.append(f"--output={self.create_tempdir().full_path}")
        with mock.patch.object(trade_off, "measure", return_value=rows) as measure:
            status, out, _ = run_program(export, self.run_flag, *arguments)
        self.assertEqual(status, 0)
        self.assertStartsWith(out, "The most accurate sub-model within 2ms: early with 1.5 ms\n")
        self.assertIn(
            "(median of the onnx file; 95th percentile 9 ms; 100 warm calls, batch 8, threads: each"
            " runtime chooses)",
            out,
        )
        self.assertEqual(measure.call_args.kwargs["formats"], ["keras"])

    def test_images_are_drawn_from_all_classes(self):
        # Sorted by class, as folders of images are read; each pixel is its image's class.
        labels = np.repeat(np.arange(10, dtype=np.int32), 100)
        pixels = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (1000, 2, 2, 3))
        part = data.Examples(pixels, labels)
        run = types.SimpleNamespace(splits=types.SimpleNamespace(train=part, test=part))
        settings = command.test_data(run, 50)
        self.assertEqual(settings["images"][:].shape, (50, 2, 2, 3))
        np.testing.assert_array_equal(settings["images"][:][:, 0, 0, 0], settings["labels"])
        np.testing.assert_array_equal(np.bincount(settings["labels"]), [5] * 10)
        calibration = settings["calibration_images"][:, 0, 0, 0]
        self.assertLen(calibration, 512)
        self.assertBetween(np.bincount(calibration).min(), 51, 52)
        self.assertLen(command.test_data(run, 0)["images"], 1000)

    def test_a_budget_in_bytes_is_that_of_the_file(self):
        arguments = [self.run_flag, "--format=onnx", "--images=4", "--budget=100B"]
        status, _, err = run_program(export, *arguments)
        self.assertEqual(status, 1)
        self.assertRegex(err, "nearest is early with .* kB. Received: budget='100B'")

    @parameterized.parameters(
        ((), "either a submodel or a budget"),
        (("--submodel=late", "--budget=5ms"), "either a submodel or a budget"),
        (("--submodel=middle",), ": early, late. Received: submodel='middle'"),
        (("--submodel=all", "--format=onnx"), "holds one sub-model"),
        (("--budget=soon",), "Expected a budget such as"),
        (("--submodel=late", "--agreement=2"), "Received: tolerance="),
        (("late",), "settings are given as --name=value. Received: late"),
    )
    def test_errors_are_one_line(self, arguments, message):
        status, _, err = run_program(export, self.run_flag, *arguments)
        self.assertEqual((status, err.count("\n")), (1, 1))
        self.assertIn(message, err)

    def test_profile(self):
        arguments = ["--format=litert,onnx", "--images=16", "--repeats=3", "--threads=0"]
        status, out, err = run_program(profile, self.run_flag, *arguments)
        self.assertEqual((status, err), (0, ""))
        lines = out.splitlines()
        self.assertLen(lines, 2 + 4 + 1)
        self.assertLen({len(line) for line in lines[:-1]}, 1)
        self.assertRegex(lines[2], r"^\| early +\| litert +\| .* 3,000 \| +338 \|")
        self.assertIn("16 test images, latency of 3 warm calls, batch 1", lines[-1])
        measured = json.loads((self.run_directory / "trade_off.json").read_text())
        self.assertLen(measured["rows"], 4)
        for row in measured["rows"]:
            self.assertBetween(row["milliseconds"], 0.0, row["p95_ms"])
        with Image.open(self.run_directory / "trade_off.png") as figure:
            self.assertEqual(figure.size, (1800, 675))


class ClassifyTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory = pathlib.Path(tempfile.mkdtemp())
        cls.network = write_run(cls.directory)
        names = [f"digit {number}" for number in range(10)]
        settings = {"formats": ["litert"], "class_names": names}
        exports.export_submodel(cls.network, "all", cls.directory, **settings)
        cls.model = cls.directory / "model.tflite"
        cls.pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(cls.pixels).save(cls.directory / "right.png")
        Image.fromarray(cls.pixels[..., 0]).resize((20, 10)).save(cls.directory / "grey.png")
        Image.fromarray(cls.pixels).convert("RGBA").save(cls.directory / "alpha.png")
        cls.network.save(cls.directory / "best.keras")
        (cls.directory / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")

    def classify(self, *images, model=None, more=()):
        paths = [str(self.directory / image) for image in images]
        return run_program(classify, f"--model={model or self.model}", *more, *paths)

    def _expected(self, output):
        logits = self.network(self.pixels[None])[output].numpy()[0].astype(np.float64)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        best = probabilities.argmax()
        return f"digit {best} {100 * probabilities[best]:.1f} %"

    def test_the_largest_submodel_answers_unless_another_is_named(self):
        status, out, _ = self.classify("right.png")
        self.assertEqual(status, 0)
        self.assertStartsWith(out, f"{self.directory / 'right.png'}: {self._expected(1)}, ")
        _, out, _ = self.classify("right.png", more=["--signature=early", "--top=1"])
        self.assertEqual(out, f"{self.directory / 'right.png'}: {self._expected(0)}\n")

    def test_images_of_other_kinds_are_converted(self):
        status, out, _ = self.classify("grey.png", "alpha.png")
        self.assertEqual((status, out.count("\n")), (0, 2))
        self.assertIn("(scaled from 20x10 to 8x8)", out.splitlines()[0])
        self.assertIn(self._expected(1), out.splitlines()[1])

    def test_broken_and_missing_images_are_named_and_the_others_classified(self):
        status, out, err = self.classify("broken.png", "right.png", "missing.png")
        self.assertEqual((status, out.count("\n"), err.count("\n")), (1, 1, 2))
        self.assertIn("broken.png", err)
        self.assertIn("missing.png", err)

    def test_the_directory_of_an_export(self):
        status, out, _ = self.classify("right.png", model=self.directory)
        self.assertEqual(status, 0)
        self.assertIn(self._expected(1), out)

    def test_a_grey_model(self):
        image = keras.Input([8, 8, 1])
        flat = keras.layers.Flatten()(image)
        network = keras.Model(image, keras.layers.Dense(2, kernel_initializer="zeros")(flat))
        directory = pathlib.Path(self.create_tempdir().full_path)
        exports.export_submodel(network, 0, directory, ["keras"], class_names=["a", "b"])
        status, out, _ = self.classify("grey.png", model=directory)
        self.assertEqual((status, out.count("a 50.0 %, b 50.0 %")), (0, 1))

    def test_without_a_manifest_classes_are_numbers(self):
        alone = pathlib.Path(self.create_tempdir().full_path, "alone.tflite")
        alone.write_bytes(self.model.read_bytes())
        _, out, _ = self.classify("right.png", model=alone)
        self.assertIn(self._expected(1).removeprefix("digit "), out)
        self.assertNotIn("digit", out)

    def test_errors_are_one_line(self):
        for arguments, message in (
            ({"model": self.directory / "broken.tflite"}, "that exists"),
            ({"more": ["--signature=middle"]}, "Received: signature='middle'"),
            ({"model": self.directory / "best.keras"}, "has to be exported first"),
        ):
            status, _, err = self.classify("right.png", **arguments)
            self.assertEqual((status, err.count("\n")), (1, 1))
            self.assertIn(message, err)
        status, _, err = self.classify()
        self.assertEqual(status, 1)
        self.assertIn("Expected image files", err)
