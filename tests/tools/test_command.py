"""What the programs share: --help, errors, TensorFlow's chatter."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys

from absl.testing import parameterized

from ipkd_tf.tools import command

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = sorted(
    path.stem
    for path in (ROOT / "ipkd_tf" / "tools").glob("*.py")
    if "command.start(" in path.read_text() and path.stem not in ("command", "train")
)


class HelpTest(parameterized.TestCase):
    def test_there_are_nine_programs(self):
        self.assertLen(PROGRAMS, 9)

    @parameterized.parameters(*PROGRAMS)
    def test_help_is_a_success_that_needs_no_tensorflow(self, program):
        # A TensorFlow that cannot be imported shows that it was not asked for.
        trap = self.create_tempdir()
        trap.create_file("tensorflow.py", content="raise SystemExit('TensorFlow was imported')")
        environment = {**os.environ, "PYTHONPATH": f"{trap.full_path}{os.pathsep}{ROOT}"}
        done = subprocess.run(
            [sys.executable, "-m", f"ipkd_tf.tools.{program}", "--help"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"python -m ipkd_tf.tools.{program}", done.stdout)
        if program in ("adapt", "evaluate", "export", "profile"):
            self.assertIn("--run: ", done.stdout)
            self.assertIn("--epoch: <best|last>", done.stdout)


class RunTest(parameterized.TestCase):
    def run_main(self, main, *arguments):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            return command.run(main, ["/tools/program.py", *arguments]), errors.getvalue()

    @parameterized.parameters(ValueError, OSError)
    def test_an_error_of_the_user_is_one_line(self, error):
        def main():
            raise error("Expected x. Received: y")

        self.assertEqual(self.run_main(main), (1, "program: Expected x. Received: y\n"))

    def test_arguments_are_for_programs_that_take_some(self):
        status, error = self.run_main(lambda: 0, "x")
        expected = "program: settings are given as --name=value. Received: x\n"
        self.assertEqual((status, error), (1, expected))
        self.assertEqual(self.run_main(lambda paths: len(paths), "x", "y"), (2, ""))

    def test_a_defect_keeps_its_traceback(self):
        with self.assertRaises(ZeroDivisionError):
            self.run_main(lambda: 1 / 0)


class StartTest(parameterized.TestCase):
    def test_warnings_are_shown_and_tensorflow_s_greeting_is_not(self):
        code = """if True:
            import warnings
            from ipkd_tf.tools import command
            command.start_tensorflow(threads=1)
            import tensorflow as tf
            assert tf.config.threading.get_intra_op_parallelism_threads() == 1
            warnings.warn("something to know")
        """
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("something to know", done.stderr)
        self.assertNotIn("oneDNN", done.stderr)
