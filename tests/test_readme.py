"""The README and the pages of docs/: examples executed, commands parsed, links followed."""

import contextlib
import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import absltest, parameterized
from PIL import Image

from ipkd_tf.__main__ import find_commands
from ipkd_tf.training.experiment import Experiment
from tests import test_train_main

ROOT = pathlib.Path(__file__).parent.parent
TOP = ("README.md", "runs/README.md", "CONTRIBUTING.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")


def _blocks(section, language):
    """The fenced blocks of a language in the section under a heading of the README."""
    body = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", README, re.M | re.S)[1]
    return re.findall(rf"^```{language}\n(.*?)^```", body, re.M | re.S)


def _commands(program):
    """Every command of a program in all pages, as lists of words."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(rf"\bpython {program} +([^`\n#(]*)", text):
            yield path.name, shlex.split(line.partition(" && ")[0].rstrip(".,;:'"))


def _write_flowers(root):
    random = np.random.default_rng(0)
    for number, name in enumerate(("daisy", "rose", "tulip")):
        (root / name).mkdir(parents=True)
        for image in range(40):
            pixels = np.clip(random.normal(60 + 70 * number, 20, (32, 32, 3)), 0, 255)
            Image.fromarray(pixels.astype("uint8")).save(root / name / f"{image}.png")


class PagesTest(test_train_main.MainTestCase):
    def test_the_readme_is_read_in_five_minutes(self):
        self.assertLessEqual(README.count("\n"), 130)

    @parameterized.parameters(*sorted({*find_commands()} - {"train"}))
    def test_commands_of_the_programs_parse(self, name):
        program = importlib.import_module(f"ipkd_tf.tools.{name}")
        commands = [words for _, words in _commands(f"-m ipkd_tf {name}") if words]
        self.assertNotEmpty(commands)
        for words in commands:
            values = flags.FlagValues()
            program.define_flags(values)
            values([name, *words])

    def test_commands_that_train_parse(self):
        commands = [words for _, words in _commands("-m ipkd_tf train") if words]
        self.assertGreater(len(commands), 5)
        for words in commands:
            words = [
                w for w in words if w != "--help" and not re.search(r"NAME|\.\.\.|\$|flags\.txt", w)
            ]
            with contextlib.chdir(ROOT):
                status, errors, experiment = self.run_main(*words)
            self.assertIsInstance(experiment, Experiment, f"{words} {errors}")

    def test_links_lead_somewhere(self):
        for path in PAGES:
            text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
            for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
                name, _, heading = target.partition("#")
                if "://" in target:
                    continue
                file = (path.parent / name).resolve() if name else path
                self.assertTrue(file.exists(), f"{path.name}: {target}")
                if heading:
                    heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
                    anchors = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in heads]
                    self.assertIn(heading, anchors, f"{path.name}: {target}")


class ReadmeTest(tf.test.TestCase):
    def test_your_own_network_in_ten_lines_twice(self):
        (code,) = _blocks("Your own network", "python")
        names = {}
        with contextlib.chdir(self.get_temp_dir()), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            for _ in range(2):
                exec(compile(code, "README.md", "exec"), names)  # our own text, not a user's
                self.assertTrue(tf.saved_model.contains_saved_model("smallest/saved_model"))
        logs = names["distiller"].history.history
        self.assertLess(logs["loss"][-1], logs["loss"][0])
        self.assertGreater(logs["val_avg_accuracy"][-1], 0.5)

    @pytest.mark.slow
    def test_your_own_images_from_folder_to_photo(self):
        directory = pathlib.Path(self.get_temp_dir())
        _write_flowers(directory / "flowers")
        Image.new("RGB", (50, 40)).save(directory / "photo.png")
        page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
        tuned = re.search(r"^python -m ipkd_tf train .*--initialize_from.*$", page, re.M)[0]
        # The page starts from the quickstart; here from the first command's own run.
        tuned = tuned.replace("runs/quickstart/seed0", "runs/flowers/seed0")
        (block,) = _blocks("Your own images", "sh")
        for line in [*block.splitlines()[1:], tuned]:
            command = re.sub(r"--epochs=\d+", "--epochs=1", line)
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


if __name__ == "__main__":
    absltest.main()
