"""Imports go one way, and importing the package stays quick."""

import ast
import pathlib
import subprocess
import sys

import tensorflow as tf

import ipkd_tf

PACKAGE = pathlib.Path(ipkd_tf.__file__).parent
# A room may import what stands before it; data and models do not know each other.
ROOMS = ["output", "data", "models", "distillation", "deployment", "training", "reports", "tools"]
WALLS = {"models": {"data"}, "deployment": {"distillation"}}


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
            if parts[0] == "ipkd_tf" and parts[1:] and parts[1] != "version":
                yield parts[1]


class ImportsTest(tf.test.TestCase):
    def test_the_package_has_eight_rooms(self):
        entries = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
        files = {"__init__", "__main__", "version", "py.typed"}
        self.assertEqual(entries - {"__pycache__"}, {*ROOMS, *files})

    def test_no_room_imports_upward(self):
        for path in PACKAGE.rglob("*.py"):
            room = path.relative_to(PACKAGE).parts[0]
            if room in ROOMS:
                allowed = {*ROOMS[: ROOMS.index(room) + 1]} - WALLS.get(room, set())
                self.assertContainsSubset(_imported_rooms(path), allowed, str(path))

    def test_absl_flags_live_only_in_programs(self):
        for path in PACKAGE.rglob("*.py"):
            if "tools" not in path.parts:
                self.assertNotIn("absl", path.read_text(encoding="utf-8"), str(path))

    def test_importing_the_package_loads_only_itself_and_what_python_brings(self):
        code = """if True:
            import sys
            before = set(sys.modules)
            import ipkd_tf
            names = {name.partition(".")[0] for name in set(sys.modules) - before}
            print(sorted(names - {"ipkd_tf"} - sys.stdlib_module_names))
        """
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(printed.stdout.strip(), "[]", printed.stderr)

    def test_what_is_public_loads_nothing_heavy_beyond_tensorflow(self):
        # What Keras and TensorFlow import by themselves (some of these, if installed) is not ours.
        code = """if True:
            import sys, keras, tensorflow
            before = set(sys.modules)
            import ipkd_tf
            ipkd_tf.InplaceDistiller, ipkd_tf.models, ipkd_tf.data, ipkd_tf.export
            heavy = {"matplotlib.pyplot", "tensorflow_datasets", "sklearn.datasets"}
            print(sorted(heavy & (set(sys.modules) - before)))
        """
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(printed.stdout.strip(), "[]", printed.stderr)
