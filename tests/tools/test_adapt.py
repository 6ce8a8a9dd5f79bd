"""The program adapt from its flags to its files."""

import json
import os
import pathlib
import tempfile

import keras
import numpy as np
import pandas as pd
from absl import flags
from absl.testing import parameterized

from ipkd_tf import data
from ipkd_tf.deployment.early_exit import confidence, runner, thresholds, writing
from ipkd_tf.tools import adapt
from tests.tools.test_programs import run_program
from tests.training.test_finished_run import write_run


class AdaptTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory = pathlib.Path(tempfile.mkdtemp())
        keras.utils.set_random_seed(0)
        cls.network = write_run(cls.directory)
        cls.flag = f"--run={cls.directory}"

    def test_within_a_budget_of_multiply_adds(self):
        formats = "--format=saved_model,onnx"
        status, out, err = run_program(adapt, self.flag, "--budget=12k", formats)
        self.assertEqual((status, err), (0, ""))
        directory = self.directory / "adapt"
        self.assertCountEqual(
            os.listdir(directory), ["adapt.csv", "adapt.json", "adapt.png", "adapt.pdf", "12k"]
        )
        self.assertCountEqual(os.listdir(directory / "12k"), ["saved_model", "onnx"])
        self.assertIn(
            f"{directory}: adapt.csv, adapt.json, adapt.png, adapt.pdf, 12k/saved_model, 12k/onnx",
            out,
        )
        self.assertIn("saved_model: 100.00% of 360 images leave where simulated", out)
        document = json.loads((directory / "adapt.json").read_text())
        self.assertEqual(document["images"], {"held_out": 144, "test": 360})
        exported = document["exported"]
        self.assertLessEqual(exported["test_cost"], 1.1 * 12e3)
        self.assertIn(f"test accuracy {exported['test_accuracy']:.2%} at ", out)
        # The files do what the document says.
        digits = data.read("digits", image_size=8)
        found = runner.StageRunner(directory / "12k" / "onnx")(digits.test.images())
        accuracy = np.mean(found["class_id"] == digits.test.labels)
        self.assertAlmostEqual(accuracy, exported["test_accuracy"], delta=0.003)
        shares = np.bincount(found["exit"], minlength=2) / 360
        np.testing.assert_allclose(shares, exported["shares"], atol=0.003)
        table = pd.read_csv(directory / "adapt.csv")
        self.assertCountEqual(set(table["method"]), ["single", "early_exit", "oracle"])
        self.assertLen(table, len(document["curve"]))

    def test_thresholds_come_from_held_out_images(self):
        run_program(adapt, self.flag, "--confidence=entropy", "--nocalibrate")
        document = json.loads((self.directory / "adapt" / "adapt.json").read_text())
        digits = data.read("digits", image_size=8)
        _, held = data.hold_out(digits.train, 144)
        logits = np.stack(self.network.predict(held.images(), verbose=0))
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        confidence = 1 + (probabilities * np.log(probabilities)).sum(-1) / np.log(10)
        for row in document["curve"]:
            if row["method"] in ("single", "early_exit"):
                exits = thresholds.leave(confidence, row["thresholds"])
                correct = (logits.argmax(-1) == held.labels)[exits, np.arange(144)]
                self.assertAlmostEqual(correct.mean(), row["held_out_accuracy"], delta=0.008)
        self.assertEqual([row["temperature"] for row in document["submodels"]], [1.0, 1.0])

    def test_a_budget_in_milliseconds_is_of_this_machine(self):
        output = self.create_tempdir().full_path
        status, out, _ = run_program(
            adapt, self.flag, "--budget=1s", "--threads=0", f"--output={output}"
        )
        self.assertEqual(status, 0)
        self.assertRegex(out, r"measured, one image at a time: mean [\d.]+ ms, 95th perc")
        document = json.loads(pathlib.Path(output, "adapt.json").read_text())
        self.assertEqual(document["quantity"], "milliseconds")
        exported = document["exported"]
        self.assertBetween(exported["measured_mean_ms"], 0.0, exported["measured_p95_ms"])
        self.assertGreater(min(document["costs"]["straight"]), 0.0)

    @parameterized.parameters(
        (("--budget=500kB",), "time, not bytes.*Received: budget='500kB'"),
        (("--budget=1",), "at least [0-9]+, the cost.*Received: budget=1"),
        (("--format=keras",), "saved_model, litert, onnx. Received: format='keras'"),
        (("later",), "Received: later"),
    )
    def test_errors_are_one_line(self, arguments, message):
        status, _, err = run_program(adapt, self.flag, *arguments)
        self.assertEqual((status, err.count("\n")), (1, 1))
        self.assertRegex(err, message)

    def test_flags_offer_what_there_is(self):
        values = flags.FlagValues()
        adapt.define_flags(values)
        self.assertEqual(values["confidence"].parser.enum_values, list(confidence.MEASURES))
        self.assertIn(f"From {', '.join(writing.FORMATS)}.", values["format"].help)

    def test_a_run_that_held_nothing_out(self):
        directory = pathlib.Path(tempfile.mkdtemp())
        write_run(directory, self.network, validation="test")
        status, out, err = run_program(adapt, f"--run={directory}")
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, r"--validation=holdout:5000, or .*Received: validation='test'\n\Z")
        status, out, _ = run_program(adapt, f"--run={directory}", "--from_training=100")
        self.assertEqual(status, 0)
        self.assertIn("Warning: thresholds are fitted on images that the network was trained", out)
