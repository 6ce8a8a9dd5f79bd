"""A real export killed while it writes: what was there stays whole, and the next one works."""

import json
import pathlib
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from absl.testing import absltest

from tests.training.test_finished_run import write_run


@pytest.mark.slow
class KilledExportTest(absltest.TestCase):
    def test_an_earlier_export_survives(self):
        run = pathlib.Path(self.create_tempdir().full_path)
        write_run(run)
        command = [sys.executable, "-m", "ipkd_tf.tools.export", f"--run={run}", "--submodel=late"]
        command += ["--format=saved_model,litert", "--images=16"]
        subprocess.run(command, check=True, capture_output=True)
        output = run / "export" / "late"
        for delay in (0.0, 0.3):
            self._kill_while_writing(command, output, delay)
            manifest = json.loads((output / "manifest.json").read_text())
            for name in ("saved_model", "litert"):
                self.assertNotEmpty(manifest["formats"][name])
            self.assertEqual((output / "model.tflite").read_bytes()[4:8], b"TFL3")
            loaded = tf.saved_model.load(str(output / "saved_model"))
            self.assertIn("serving_default", loaded.signatures)
        subprocess.run(command, check=True, capture_output=True)
        self.assertEmpty(list(output.glob(".partial-*")) + list(output.glob(".replaced-*")))

    def _kill_while_writing(self, command, output, delay):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(output.glob(".partial-*")) and process.poll() is None:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        time.sleep(delay)
        self.assertIsNone(process.poll(), "the export ended before it could be killed")
        process.kill()
        process.wait()
