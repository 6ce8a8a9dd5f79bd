"""Imports go one way, and importing the package stays quick."""

import ast
import pathlib
import subprocess
import sys

import tensorflow as tf

import ipkd_tf

PACKAGE = pathlib.Path(ipkd_tf.__file__).parent
# Each room may import only rooms further up in this list.
LEVELS = [
    {"averaging", "files", "progress", "termination", "timing", "workers"},
    {
        "version",
        "teachers",
        "layers",
        "optimizers",
        "profiling",
        "experiment",
        "schedules",
        "submodels",
        "budget",
    },
    {"losses", "stages"},
    {"anytime"},
    {"data", "models", "distillation", "evaluation"},
    {"initialization"},
    {"workdir", "environment", "preparation"},
    {"checkpoint_files", "drawing"},
    {"checkpointing", "report", "export", "finished_run"},
    {"adaptive"},
    {"training", "benchmarking", "trade_off", "classification", "reporting"},
    {"sweep"},
    {"tools"},
]


def _level(room):
    return next(number for number, rooms in enumerate(LEVELS) if room in rooms)


def _imported_rooms(path):
    """Names of this package's rooms that a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "ipkd_tf" and len(parts) > 1:
                yield parts[1]


class ImportsTest(tf.test.TestCase):
    def test_no_room_imports_upward_or_sideways(self):
        for path in PACKAGE.rglob("*.py"):
            room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
            if room == "__init__":
                continue
            for imported in _imported_rooms(path):
                if imported != room:
                    self.assertLess(_level(imported), _level(room), f"{path} imports {imported}")

    def test_models_and_distillation_do_not_know_each_other(self):
        self.assertEqual(_level("models"), _level("distillation"))

    def test_absl_flags_live_only_in_programs(self):
        for path in PACKAGE.rglob("*.py"):
            if "tools" not in path.parts:
                self.assertNotIn("absl", path.read_text(encoding="utf-8"), str(path))

    def test_importing_the_package_loads_nothing_heavy_beyond_tensorflow(self):
        # What Keras and TensorFlow import by themselves (some of these, if installed) is not ours.
        code = """if True:
            import sys, keras, tensorflow
            before = set(sys.modules)
            import ipkd_tf
            heavy = {"matplotlib.pyplot", "tensorflow_datasets", "sklearn.datasets"}
            print(sorted(heavy & (set(sys.modules) - before)))
        """
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(printed.stdout.strip(), "[]", printed.stderr)
