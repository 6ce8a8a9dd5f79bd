"""The README's examples, executed."""

import contextlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent


def _blocks(section, language):
    """The fenced blocks of a language in the section under a heading."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    body = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]
    return re.findall(rf"^```{language}\n(.*?)^```", body, re.M | re.S)


def _write_flowers(root):
    random = np.random.default_rng(0)
    for number, name in enumerate(("daisy", "rose", "tulip")):
        (root / name).mkdir(parents=True)
        for image in range(40):
            pixels = np.clip(random.normal(60 + 70 * number, 20, (32, 32, 3)), 0, 255)
            Image.fromarray(pixels.astype("uint8")).save(root / name / f"{image}.png")


class ReadmeTest(tf.test.TestCase):
    def test_your_own_network_in_ten_lines(self):
        (code,) = _blocks("Your own network", "python")
        names = {}
        with contextlib.chdir(self.get_temp_dir()):
            for _ in range(2):  # As a cell of a notebook is.
                exec(compile(code, "README.md", "exec"), names)  # our own text, not a user's
            self.assertTrue(tf.saved_model.contains_saved_model("smallest/saved_model"))
        logs = names["distiller"].history.history
        self.assertLess(logs["loss"][-1], logs["loss"][0])
        self.assertGreater(logs["val_avg_accuracy"][-1], 0.5)

    @pytest.mark.slow
    def test_your_own_images_from_folder_to_file(self):
        directory = pathlib.Path(self.get_temp_dir())
        _write_flowers(directory / "flowers")
        # The README starts from a run of many minutes; here from the first command's own.
        replaced = {"msdnet_small_cifar10": "flowers", "train_main.py": str(ROOT / "train_main.py")}
        for block in _blocks("Your own images", "sh"):
            for line in block.splitlines():
                command = re.sub(r"--epochs=\d+", "--epochs=1", line)
                for old, new in replaced.items():
                    command = command.replace(old, new)
                arguments = shlex.split(command)
                self.assertEqual(arguments[0], "python")
                done = subprocess.run(
                    [sys.executable, *arguments[1:]],
                    cwd=directory,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    capture_output=True,
                    text=True,
                )
                self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        self.assertTrue((directory / "runs/flowers/seed0/export/exit_2/model.tflite").is_file())
        self.assertTrue((directory / "runs/flowers_tuned/seed0/result.json").is_file())
