"""Imports go one way, and importing the package stays quick."""

import ast
import inspect
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


def _public_functions():
    """Every function, constructor and method of the names that users are promised."""
    for alias in ipkd_tf._PUBLIC:
        face = getattr(ipkd_tf, alias)
        names = getattr(face, "__all__", None) or (
            [name for name, one in vars(face).items() if _belongs_to(one, face)]
            if inspect.ismodule(face)
            else []
        )
        for one in [getattr(face, name) for name in names] or [face]:
            if inspect.isfunction(one):
                yield one
            elif inspect.isclass(one):
                yield from _methods(one)


def _belongs_to(one, module):
    return getattr(one, "__module__", "") == module.__name__ and not one.__name__.startswith("_")


def _methods(kind):
    """Those of the class itself; what overrides a method is as the method it overrides."""
    for name, one in vars(kind).items():
        one = getattr(one, "fget", one)
        own = name in ("__init__", "__call__") or not (
            name.startswith("_") or any(hasattr(base, name) for base in kind.__bases__)
        )
        if own and inspect.isfunction(one) and one.__module__ == kind.__module__:
            yield one


class PublicFaceTest(tf.test.TestCase):
    def test_type_checkers_see_what_is_imported_when_asked_for(self):
        for face in (ipkd_tf, ipkd_tf.export):
            (block,) = (
                node
                for node in ast.parse(pathlib.Path(face.__file__).read_text()).body
                if isinstance(node, ast.If)
            )
            names = [alias.name for line in block.body for alias in line.names]
            self.assertCountEqual(names, face._PUBLIC)

    def test_every_public_function_says_its_types(self):
        functions, untyped = {*_public_functions()}, []
        self.assertGreater(len(functions), 90)
        for one in functions:
            signature = inspect.signature(one)
            types = {name: p.annotation for name, p in signature.parameters.items()}
            types.pop("self", None)
            if one.__name__ != "__init__":
                types["return"] = signature.return_annotation
            untyped += [f"{one.__qualname__}: {n}" for n, t in types.items() if t is inspect._empty]
        self.assertEmpty(untyped)
