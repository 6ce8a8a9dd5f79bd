"""What the programs share: errors, TensorFlow's chatter."""

import contextlib
import io
import pathlib
import subprocess
import sys

from absl import flags
from absl.testing import parameterized

from ipkd_tf.tools import command, train

ROOT = pathlib.Path(__file__).parents[2]


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


class ParseTest(parameterized.TestCase):
    @parameterized.parameters(
        ("--epoch=3", "Unknown .*'epoch'. Did you mean: epochs .*\n--help lists"),
        ("--epochs=many", "flag --epochs=many: invalid literal .*\n--help lists the settings"),
        ("--flagfile=a.flags", "Unable to open flagfile: .*'a.flags'\n.*ipkd_tf init writes"),
    )
    def test_a_flag_in_error_says_what_helps(self, argument, message):
        values = flags.FlagValues()
        train.define_flags(values)
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), self.assertRaises(SystemExit) as ended:
            command.parse(["/tools/train.py", argument], values)
        self.assertEqual(ended.exception.code, 1)
        self.assertRegex(errors.getvalue(), f"^train: {message}")

    @parameterized.parameters(
        (
            ["--epochs=3"],
            "sweep: Unknown command line flag 'epochs'. Did you mean: epoch ?\n"
            "Settings of the runs stand after --: sweep runs/a.flags -- --epochs=3; "
            "--help lists the settings.\n",
        ),
        # No greeting of TensorFlow comes before it either.
        (
            ["--", "--epoch=3"],
            "sweep: runs/quickstart.flags: Unknown command line flag 'epoch'. "
            "Did you mean: epochs ?\n",
        ),
    )
    def test_sweep_says_where_settings_of_runs_stand_and_nothing_else(self, given, message):
        done = subprocess.run(
            [sys.executable, "-m", "ipkd_tf", "sweep", "runs/quickstart.flags", *given],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", message))


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
