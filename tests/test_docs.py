"""The documentation site builds without a warning and asks no other host; its guides run."""

import contextlib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest
import tensorflow as tf
from absl.testing import absltest, parameterized

from docs import pictures
from ipkd_tf import __version__
from ipkd_tf.data import image_file

ROOT = pathlib.Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
NEEDED = ("material", "mkdocstrings_handlers.python")


def is_installed(module):
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(module) is not None


class SiteTest(absltest.TestCase):
    @pytest.mark.skipif(not all(map(is_installed, NEEDED)), reason="needs ipkd_tf[docs]")
    def test_builds_without_a_warning_and_is_whole_offline(self):
        site = pathlib.Path(self.create_tempdir().full_path)
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
        environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        for page in site.rglob("*.html"):
            loaded = re.findall(
                r"<(?:script|img|link)[^>]* (?:src|href)=\"(https?:)?//", page.read_text()
            )
            self.assertEmpty(loaded, page)
        reference = (site / "reference" / "distillation" / "index.html").read_text()
        self.assertIn("distiller.InplaceDistiller", reference)
        self.assertIn("teacher_dropout", reference)


class GuidesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*(path.stem for path in GUIDES if "```python" in path.read_text()))
    def test_python_runs(self, guide):
        text = (ROOT / "docs" / "guides" / f"{guide}.md").read_text(encoding="utf-8")
        names = {}
        with contextlib.chdir(self.get_temp_dir()):
            for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
                exec(compile(code, guide, "exec"), names)  # our own text, not a user's
        self.assertIn("distiller", names)
        if guide == "keras":
            self.assertIn("val_exit_8_accuracy", names["history"].history)
            self.assertLess(names["smallest"].count_params(), names["distiller"].count_params())


class PicturesTest(absltest.TestCase):
    def test_are_drawn_from_the_methods(self):
        directory = pathlib.Path(self.create_tempdir().full_path)
        pictures.main(directory)
        for name in ("flexible_network.png", "teacher_matrices.png"):
            self.assertTrue((ROOT / "docs" / "images" / name).is_file())
            pixels = image_file.open_rgb(directory / name)
            committed = image_file.open_rgb(ROOT / "docs" / "images" / name)
            self.assertEqual(pixels.size, committed.size)


class CitationTest(absltest.TestCase):
    def test_names_this_version(self):
        text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
        self.assertIn(f"\nversion: {__version__}\n", text)


if __name__ == "__main__":
    absltest.main()
