"""The program evaluate against accuracies worked out from the logits."""

import pathlib
import tempfile

import numpy as np
from absl.testing import parameterized

from ipkd_tf import data
from ipkd_tf.tools import evaluate
from tests.tools.test_programs import run_program
from tests.training.test_finished_run import write_run


class EvaluateTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.network = write_run(self.directory)

    def test_accuracies_are_those_of_the_logits(self):
        digits = data.read("digits", image_size=8)
        status, out, err = run_program(evaluate, f"--run={self.directory}")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("toy, best epoch: scores on 360 test images", out)
        logits = self.network(digits.test.images(), training=False)
        for name, a in zip(("early", "late"), logits, strict=True):
            accuracy = 100 * np.mean(np.argmax(a, -1) == digits.test.labels)
            self.assertRegex(out, rf"{name} +{accuracy:.2f} ")

    def test_validation_images(self):
        _, out, _ = run_program(evaluate, f"--run={self.directory}", "--split=validation")
        self.assertIn("scores on 144 validation images", out)

    def test_a_truncated_network_is_one_line(self):
        path = self.directory / "best.keras"
        path.write_bytes(path.read_bytes()[:1000])
        status, out, err = run_program(evaluate, f"--run={self.directory}")
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, r"\A[\w.]*evaluate: Expected a whole .keras file.*best.keras'\n\Z")
