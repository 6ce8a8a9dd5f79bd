"""Whatever comes in at an entrance: a right result or an error of our own, and nothing is lost.

Each property runs on 50 cases, the same ones each time; in the slow suite on 2,000 random ones.
"""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ipkd_tf import data
from ipkd_tf.deployment.budget import Budget
from ipkd_tf.deployment.export import manifest
from ipkd_tf.distillation import teachers
from ipkd_tf.models import flexible
from ipkd_tf.training import finished_run, settings, workdir
from ipkd_tf.training.experiment import Experiment

CASES = int(os.environ.get("IPKD_TF_CASES", 50))
hypothesis.settings.register_profile(
    "entrances",
    max_examples=CASES,
    derandomize=CASES == 50,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("entrances")

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def network(names):
    image = keras.Input((4,))
    outputs = [keras.layers.Dense(3, name=f"head_{k}")(image) for k in range(len(names))]
    made = keras.Model(image, outputs)
    made.submodel_names = tuple(names)
    return made


def snapshot(directory):
    """Every file below a directory with its content."""
    return {p: p.read_bytes() for p in pathlib.Path(directory).rglob("*") if p.is_file()}


class EntrancesTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.network = network(("exit_1", "exit_2", "exit_10"))

    def refused_or(self, function):
        """The result of a call; None if it raises an error of ours, which says what it got."""
        try:
            return function()
        except (ValueError, IndexError) as error:
            self.assertIn("Received:", str(error))
            return None

    @given(st.data(), st.integers(1, 6), st.integers(0, 3))
    def test_texts_of_teachers(self, draw, n, outside):
        """Against a reading of the grammar by hand: students once, teachers larger or outside."""
        item = st.tuples(
            st.integers(0, n),
            st.lists(st.integers(0, n) | st.integers(1, 4).map("t{}".format), max_size=4),
        )
        parts = draw.draw(st.lists(item, max_size=4))
        text = ",".join(f"{s}:{'+'.join(map(str, t))}" for s, t in parts)
        text = draw.draw(st.just(text) | TEXT)
        weights = self.refused_or(lambda: teachers.from_spec(text, n, outside))
        if weights is None:
            return
        self.assertEqual(weights.shape, (n, n + outside))
        if text in teachers.METHODS:
            return
        expected = np.zeros((n, n + outside))
        for part in text.split(","):
            student, _, given_teachers = part.partition(":")
            columns = [
                n + int(one.strip()[1:]) - 1 if "t" in one else int(one)
                for one in given_teachers.split("+")
            ]
            self.assertAllGreater(np.array(columns), int(student))
            expected[int(student), columns] = 1 / len(columns)
        self.assertAllClose(weights, expected)

    @given(st.lists(st.lists(st.sampled_from([0, 0, 0.5, 1, -1, np.nan]), max_size=4), max_size=4))
    def test_matrices_of_teachers(self, rows):
        weights = self.refused_or(lambda: teachers.from_spec(rows, 3, outside=1))
        if weights is not None:
            self.assertAllEqual(weights[:, : len(rows[0])], np.float32(rows))
            self.assertAllEqual(weights[:, len(rows[0]) :], np.zeros((3, 4 - len(rows[0]))))
            self.assertAllInSet(weights.sum(axis=1), [0.0, 1.0])
            self.assertAllEqual(np.tril(weights[:, :3]), np.zeros((3, 3)))

    @given(
        st.floats(0, 1e6).map("{:.6g}".format),
        st.sampled_from(["", "k", "M", "G", "B", "kB", "MiB", "us", "ms", "s", "T", "m", " "]),
        TEXT,
    )
    def test_budgets(self, number, unit, text):
        scales = {"": 1, " ": 1, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1, "kB": 1e3, "MiB": 2**20}
        scales |= {"us": 1e-3, "ms": 1, "s": 1e3}
        budget = self.refused_or(lambda: Budget.parse(number + unit))
        plain = re.fullmatch(r"[\d.]+", number) and float(number) > 0 and unit in scales
        self.assertEqual(budget is not None, bool(plain))
        if budget:
            self.assertAllClose(budget.limit, float(number) * scales[unit], 1e-6)
        self.refused_or(lambda: Budget.parse(text))

    @given(
        st.one_of(
            TEXT,
            st.sampled_from(["exit_1", "exit_2", "exit_10", "exit_3"]),
            st.integers(-5, 5),
            st.floats(),
            st.none(),
            TEXT.map(flexible.Submodel),
        )
    )
    def test_names_of_submodels(self, which):
        names = self.network.submodel_names
        index = self.refused_or(lambda: flexible.find(self.network, which))
        name = getattr(which, "name", which)
        if isinstance(name, str):
            self.assertEqual(index, names.index(name) if name in names else None)
        elif isinstance(which, int):
            self.assertEqual(index, which % 3 if -3 <= which < 3 else None)
        else:
            self.assertIsNone(index)

    @given(st.sampled_from(sorted(settings.as_text(Experiment()))), JSON)
    def test_settings(self, name, value):
        """A setting that is taken comes back from the run's flags.txt as it was."""
        try:
            experiment = Experiment(**{name: value})
        except ValueError as error:
            self.assertIn(f"{name}=", str(error))
            return
        with tempfile.TemporaryDirectory() as directory:
            experiment = dataclasses.replace(experiment, workdir=f"{directory}/run")
            written = workdir.prepare(experiment) / "flags.txt"
            lines = dict(
                line.removeprefix("--").partition("=")[::2]
                for line in written.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            )
            self.assertEqual(lines.keys(), settings.as_text(experiment).keys())
            if name not in ("name", "workdir"):
                self.assertEqual(lines[name], settings.as_text(experiment)[name])
            before = snapshot(directory)
            workdir.prepare(experiment)  # the same run again
            self.assertEqual(snapshot(directory), before)

    @given(TEXT, JSON, st.integers(0, 400), st.sampled_from(["cut", "replace", "drop", "text"]))
    def test_run_directories(self, text, value, position, damage):
        """result.json of a stranger, cut off or changed: opened or refused, never touched."""
        result = {
            "state": "finished",
            "settings": {"model": "msdnet_small"},
            "best": [{"name": "exit_1", "accuracy": 0.5}],
            "last": [{"name": "exit_1", "accuracy": 0.5}],
            "last_epoch": 1,
            "best_epoch": 1,
            "examples": {"train": 5, "validation": 1, "test": 2},
            "data_digest": "0123456789abcdef",
        }
        keys = sorted(result)
        if damage == "replace":
            result[keys[position % len(keys)]] = value
        elif damage == "drop":
            del result[keys[position % len(keys)]]
        content = json.dumps(result)
        content = {"cut": content[:position], "text": text}.get(damage, content)
        with tempfile.TemporaryDirectory() as directory:
            pathlib.Path(directory, "result.json").write_text(content, encoding="utf-8")
            before = snapshot(directory)
            self.refused_or(lambda: finished_run.open_run(directory))
            self.assertEqual(snapshot(directory), before)

    @given(TEXT, st.integers(0, 200))
    def test_manifests(self, text, position):
        content = json.dumps({"submodel": "exit_1", "formats": {}, "network": {}})
        for damaged in (content[:position], text):
            with tempfile.TemporaryDirectory() as directory:
                pathlib.Path(directory, "manifest.json").write_text(damaged, encoding="utf-8")
                self.refused_or(lambda: manifest.read(directory))  # noqa: B023

    @given(
        st.dictionaries(
            st.text(
                st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
                min_size=1,
                max_size=8,
            ).filter(lambda name: name[0] != "."),  # hidden ones do not count
            st.lists(st.sampled_from(["png", "jpg", "broken.png", "txt", "small.png"]), max_size=4),
            max_size=4,
        )
    )
    def test_folders_of_images(self, classes):
        with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, kinds in classes.items():
                folder = pathlib.Path(root, name)
                try:
                    folder.mkdir(exist_ok=True)
                except OSError:
                    continue  # no name for this file system
                for number, kind in enumerate(kinds):
                    path = folder / f"{number}_{kind if '.' in kind else 'image.' + kind}"
                    if kind in ("broken.png", "txt"):
                        path.write_text("no image")
                    else:
                        side = 4 if kind == "small.png" else 6
                        Image.new("RGB", (side, side), (number, 0, 0)).save(path)
            before = snapshot(root)
            dataset = self.refused_or(lambda: data.read(f"folder:{root}", image_size=6))
            self.assertEqual(snapshot(root), before)
            if dataset is None:
                return
            count = sum(
                k in ("png", "jpg", "small.png") for kinds in classes.values() for k in kinds
            )
            self.assertEqual(len(dataset.train.labels) + len(dataset.test.labels), count)
            self.assertEqual(dataset.class_names, tuple(sorted(dataset.class_names)))


@pytest.mark.slow
class ManyCasesTest(tf.test.TestCase):
    def test_entrances(self):
        command = [sys.executable, "-m", "pytest", "-q", __file__]
        environment = {**os.environ, "IPKD_TF_CASES": "2000"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:])


if __name__ == "__main__":
    tf.test.main()
