"""The documentation site builds without a warning and asks no other host; its guides run."""

import ast
import contextlib
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import absltest, parameterized

import ipkd_tf
from docs import pictures
from ipkd_tf.data import image_file

ROOT = pathlib.Path(__file__).parents[1]
OFA = {
    "named": ("k3_e2_d1", "k5_e4_d2"),
    "stages": ((24, 2, False, "relu"), (24, 1, True, "hard_silu")),
    "head": (32, 40),
}
NEEDED = ("jupytext", "material", "mkdocstrings_handlers.python")
TUTORIAL = ROOT / "docs" / "tutorial" / "own_images.py"


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
        tutorial = (site / "tutorial" / "own_images" / "index.html").read_text()
        self.assertIn('id="from-your-own-images-to-a-file-on-a-device"', tutorial)
        self.assertIn('href="../../early_exit/"', tutorial)
        self.assertNotIn("Accelerator", tutorial)
        self.assertIn('href="tutorial/own_images/"', (site / "index.html").read_text())


class TutorialTest(absltest.TestCase):
    @pytest.mark.skipif(not is_installed("jupytext"), reason="needs ipkd_tf[docs]")
    def test_becomes_a_notebook(self):
        notebook = pathlib.Path(self.create_tempdir().full_path, "own_images.ipynb")
        command = ["--from", "py:sphinx", "--to", "ipynb", "--output", str(notebook), str(TUTORIAL)]
        subprocess.run(
            [sys.executable, "-m", "jupytext", *command], check=True, stdout=subprocess.DEVNULL
        )
        cells = json.loads(notebook.read_text())["cells"]
        text = {kind: "" for kind in ("code", "markdown")}
        for cell in cells:
            text[cell["cell_type"]] += "".join(cell["source"]) + "\n"
        written = ast.parse(TUTORIAL.read_text()).body
        code = [node for node in written if not is_text(node)]
        magic, rest = text["code"].split("\n", 1)
        self.assertEqual(magic, "%matplotlib inline")
        self.assertEqual([*map(ast.dump, ast.parse(rest).body)], [*map(ast.dump, code)])
        for node in filter(is_text, written):
            self.assertIn(node.value.value.strip(), text["markdown"])

    def test_its_header_is_that_of_keras_examples(self):
        header = ast.get_docstring(ast.parse(TUTORIAL.read_text())).splitlines()
        names = ["Title", "Author", "Date created", "Last modified", "Description", "Accelerator"]
        self.assertEqual([line.split(":")[0] for line in header], names)

    @pytest.mark.slow
    def test_leads_from_images_to_files(self):
        directory = self.create_tempdir().full_path
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = {"cwd": directory, "env": environment, "capture_output": True, "text": True}
        done = subprocess.run([sys.executable, str(TUTORIAL)], **command)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        accuracies = [float(n) for n in re.findall(r"test accuracy ([\d.]+)%", done.stdout)]
        self.assertLen(accuracies, 3)  # of two files, and of early exit
        self.assertGreater(min(accuracies), 95)
        says, is_ = (next(line for line in lines if line.startswith(w)) for w in ("says:", "is:"))
        self.assertEqual(says.split(":")[1].strip(), is_.split(":")[1].strip())
        self.assertIn("within 2 million multiply-adds: exit_", done.stdout)
        for name in ("shipped/model_int8.tflite", "early_exit/runner.py", "trade_off.png"):
            self.assertTrue(pathlib.Path(directory, "tutorial", name).is_file(), name)


def is_text(node):
    value = getattr(node, "value", None)
    return isinstance(node, ast.Expr) and isinstance(getattr(value, "value", None), str)


def run_page(page, names, *changes):
    """Runs the Python of a page from top to bottom; `changes`: texts, and what stands for them."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        exec(compile(code, page, "exec"), names)  # our own text, not a user's
    return names


class PagesTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(contextlib.chdir(self.create_tempdir().full_path))

    def test_every_page_with_python_is_run_by_a_test(self):
        pages = {p for p in (ROOT / "docs").rglob("*.md") if "```python" in p.read_text()}
        names = {page.relative_to(ROOT / "docs").as_posix() for page in pages}
        elsewhere = {"early_exit.md"}  # tests/deployment/early_exit/test_documentation.py
        here = set(re.findall(r'"((?:\w+/)?\w+\.md)"', pathlib.Path(__file__).read_text()))
        self.assertContainsSubset(names - elsewhere, here)

    def test_teachers(self):
        distiller = run_page("teachers.md", {})["distiller"]
        distiller.compile(optimizer=ipkd_tf.optimizers.SGD(0.01))
        images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("uint8")
        history = distiller.fit(images, np.arange(4), batch_size=4, verbose=0)
        self.assertGreater(history.history["soft_loss"][0], 0)

    def test_guide_for_keras_users(self):
        names = run_page("guides/keras.md", {})
        self.assertIn("val_exit_8_accuracy", names["history"].history)
        self.assertLess(names["smallest"].count_params(), names["distiller"].count_params())
        self.assertTrue(pathlib.Path("smallest/saved_model").is_dir())

    def test_guide_for_researchers(self):
        names = run_page("guides/researcher.md", {})
        self.assertAllClose(names["distiller"].get_config()["teachers"], names["weights"])

    def test_trained_networks(self):
        network = run_page("trained.md", {})["network"]
        smallest = keras.models.load_model("exit_1.keras")
        self.assertLess(smallest.count_params(), network.count_params())

    def test_training(self):
        names = run_page(
            "training.md",
            {},
            ('"cifar100"', '"digits"'),
            ("MSDNet(num_classes=100)", "MSDNet(blocks=2, base=1, step=1)"),
            # The session has one mirrored strategy, of which a second one would be too many.
            ("tf.distribute.MirroredStrategy()", "tf.distribute.get_strategy()"),
            ("fit(train, validation_data=test, epochs=300, ", "fit(train.take(2), "),
        )
        self.assertEqual([row["name"] for row in names["rows"]], ["exit_1", "exit_2"])
        self.assertEqual(names["small"].name, "exit_1")

    @parameterized.parameters(
        ("families/us.md", "us_mobilenet_v1_small", {"widths": (0.25, 1.0)}),
        ("families/cnmm.md", "cnmm_small", {"channels": (8, 16)}),
        ("families/ofa.md", "ofa_mobilenet_v3_small", {"depths": (1, 2), **OFA}),
    )
    def test_family(self, page, preset, arguments):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        path = pathlib.Path(re.search(r"models.load\(\"(.*)\"\)", text)[1])
        path.parent.mkdir(parents=True)
        ipkd_tf.models.from_preset(preset, image_size=16, **arguments).save(path)
        images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype("uint8")
        names = run_page(page, {"ipkd_tf": ipkd_tf, "batches": [images]})
        (written,) = pathlib.Path().glob("*.keras")
        model = ipkd_tf.models.load(written) if "ofa" in page else keras.models.load_model(written)
        self.assertLessEqual(model.count_params(), names["network"].count_params())

    def test_export(self):
        image = keras.Input((8, 8, 3))
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
        exits = [keras.layers.Dense(10, name=f"exit_{number}")(x) for number in (1, 2, 3)]
        network = keras.Model(image, exits)
        images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype("uint8")
        formats = ["saved_model", "litert", "onnx"]
        directory = "runs/quickstart/seed0/export/exit_3"
        ipkd_tf.export.export_submodel(network, "exit_3", directory, formats, images=images)
        text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
        expected = network(images)[2]
        names = {"ipkd_tf": ipkd_tf, "network": network, "images": images, "test_images": images}
        for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            names.pop("outputs", None)
            exec(compile(code, "export.md", "exec"), names)
            outputs = names.get("outputs") or names["model"](images, names["model"].largest)
            self.assertAllClose(outputs["logits"], expected, atol=1e-4)


class PicturesTest(absltest.TestCase):
    def test_are_drawn_from_the_methods(self):
        directory = pathlib.Path(self.create_tempdir().full_path)
        pictures.main(directory)
        for name in ("flexible_network.png", "teacher_matrices.png"):
            self.assertTrue((ROOT / "docs" / "images" / name).is_file())
            pixels = image_file.open_rgb(directory / name)
            committed = image_file.open_rgb(ROOT / "docs" / "images" / name)
            self.assertEqual(pixels.size, committed.size)


class ProjectTest(absltest.TestCase):
    def test_contributors_are_sent_to_files_that_exist(self):
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        paths = set(re.findall(r"`((?:ipkd_tf|tests)/[\w/]+\.py)`", text))
        self.assertGreater(len(paths), 8)
        for path in paths:
            if "NAME" not in path:
                self.assertTrue((ROOT / path).is_file(), path)
        tables = {
            "METHODS": "distillation/teachers.py",
            "DIVERGENCES": "distillation/losses.py",
            "FORMATS": "deployment/export/formats.py",
        }
        for name, path in tables.items():
            self.assertIn(f"`{name}`", text)
            self.assertRegex((ROOT / "ipkd_tf" / path).read_text(), rf"(?m)^{name} = ")

    def test_the_citation_names_this_version(self):
        text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
        self.assertIn(f"\nversion: {ipkd_tf.__version__}\n", text)


if __name__ == "__main__":
    absltest.main()
