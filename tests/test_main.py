"""One command for all programs: it lists, runs and refuses; and what a wheel brings along."""

import contextlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile
from unittest import mock

from absl.testing import absltest, parameterized

import ipkd_tf
from ipkd_tf import __main__ as one_command
from ipkd_tf.models import trained
from ipkd_tf.tools import init

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = one_command.find_commands()


def run(*arguments):
    """Returns (exit status, stdout, stderr) of the command, within this process."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        return one_command.main([*arguments]), out.getvalue(), err.getvalue()


class CommandsTest(parameterized.TestCase):
    def test_every_program_is_a_command(self):
        started = {
            path.stem
            for path in (ROOT / "ipkd_tf" / "tools").glob("*.py")
            if "\n    command.start(" in path.read_text() or path.stem == "train"
        }
        self.assertContainsSubset({"train", "export", "init", "report"}, started)
        self.assertEqual({*COMMANDS}, started)

    def test_help_has_a_line_for_each(self):
        for arguments in ([], ["--help"], ["help"]):
            status, out, err = run(*arguments)
            self.assertEqual((status, err), (0, ""))
            for name, what in COMMANDS.items():
                self.assertRegex(out, rf"(?m)^  {name} +{what}$")
        self.assertEqual(run("--version"), (0, f"{ipkd_tf.__version__}\n", ""))

    @parameterized.parameters(("exprot", "did you mean export?"), ("xyz", "--help lists them"))
    def test_an_unknown_command_is_one_line(self, name, hint):
        status, out, err = run(name)
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn(hint, err)
        self.assertEndsWith(err, f"Received: {name}\n")

    @parameterized.parameters(*COMMANDS)
    def test_help_of_a_command_needs_no_tensorflow(self, name):
        # A TensorFlow that cannot be imported shows that it was not asked for.
        trap = self.create_tempdir()
        trap.create_file("tensorflow.py", content="raise SystemExit('TensorFlow was imported')")
        environment = {**os.environ, "PYTHONPATH": f"{trap.full_path}{os.pathsep}{ROOT}"}
        module = ["ipkd_tf", name] if name != "evaluate" else ["ipkd_tf.tools.evaluate"]
        done = subprocess.run(
            [sys.executable, "-m", *module, "--help"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"python -m ipkd_tf {name}", done.stdout)
        self.assertNotIn(f"{name}.py", done.stdout)
        if name in ("adapt", "evaluate", "export", "profile"):
            self.assertIn("--run: ", done.stdout)
            self.assertIn("--epoch: <best|last>", done.stdout)
        if name in ("adapt", "evaluate", "export", "profile", "classify"):
            for preset in trained.names():
                self.assertIn(preset, done.stdout)


class InitTest(absltest.TestCase):
    def test_run_files_are_copied_and_own_ones_stay(self):
        target = pathlib.Path(self.create_tempdir().full_path)
        (target / "runs").mkdir()
        (target / "runs" / "quickstart.flags").write_text("mine")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            init.main([str(target)])
        source = ROOT / "runs"
        expected = {p.relative_to(source) for p in [*source.glob("*.flags"), *source.glob("b*/*")]}
        copied = {p.relative_to(target / "runs") for p in target.rglob("*.flags")}
        self.assertEqual(copied, expected)
        self.assertEqual((target / "runs" / "quickstart.flags").read_text(), "mine")
        base = "base/msdnet.flags"
        self.assertEqual((target / "runs" / base).read_text(), (source / base).read_text())
        self.assertIn(f"{len(expected) - 1} run files written, 1 ", out.getvalue())
        with self.assertRaisesRegex(ValueError, "Received: arguments='a b'"):
            init.main(["a", "b"])

    def test_a_wheel_brings_the_whole_package_and_all_run_files(self):
        directory = pathlib.Path(self.create_tempdir().full_path, "checkout")
        for name in ("ipkd_tf", "runs"):  # of runs/ not the outputs
            shutil.copytree(
                ROOT / name,
                directory / name,
                ignore=lambda path, names: [
                    n for n in names if n.startswith("seed") or n == "__pycache__"
                ],
            )
        for path in [*ROOT.glob("setup.*"), ROOT / "README.md", ROOT / "LICENSE"]:
            shutil.copy(path, directory)
        command = [sys.executable, "setup.py", "-q", "bdist_wheel"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        (wheel,) = (directory / "dist").glob("*.whl")
        site = pathlib.Path(self.create_tempdir().full_path)
        zipfile.ZipFile(wheel).extractall(site)
        everything = [path for path in (ROOT / "ipkd_tf").rglob("*") if path.is_file()]
        for path in everything:  # code, trained networks
            if path.suffix != ".pyc":
                self.assertTrue((site / path.relative_to(ROOT)).is_file(), path)
        with mock.patch.object(ipkd_tf, "__file__", str(site / "ipkd_tf" / "__init__.py")):
            source = init.find_run_files()
        self.assertEqual(source, site / "ipkd_tf" / "runs")
        for path in [*ROOT.glob("runs/*.flags"), *ROOT.glob("runs/base/*.flags")]:
            copy = source / path.relative_to(ROOT / "runs")
            self.assertEqual(copy.read_text(), path.read_text())


if __name__ == "__main__":
    absltest.main()
