"""What the programs share: errors, TensorFlow's chatter."""

import contextlib
import io
import pathlib
import subprocess
import sys

from absl.testing import parameterized

from ipkd_tf.tools import command

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
