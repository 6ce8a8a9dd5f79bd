"""The command: flags are settings, errors are one line, the exit status tells."""

import contextlib
import dataclasses
import io
import os
import pathlib
import subprocess
import sys
from unittest import mock

from absl import flags
from absl.testing import flagsaver, parameterized

from ipkd_tf.tools import command, train
from ipkd_tf.training import loop
from ipkd_tf.training.experiment import Experiment
from ipkd_tf.training.sigterm import Terminated

ROOT = pathlib.Path(__file__).parents[1]


train.define_flags()


class MainTestCase(parameterized.TestCase):
    def run_main(self, *arguments, run=None):
        """Returns (exit status, what went to stderr, the experiment that was run)."""
        argv = ["train_main.py", *arguments]
        errors = io.StringIO()
        with (
            flagsaver.flagsaver(),
            mock.patch.object(sys, "argv", argv),
            mock.patch.object(loop, "run", side_effect=run) as run,
            contextlib.redirect_stderr(errors),
        ):
            status = command.run(train.main, flags.FLAGS(argv))
        return status, errors.getvalue(), run.call_args.args[0] if run.called else None


class MainTest(MainTestCase):
    def flag_file(self, name, *lines):
        return self.create_tempfile(name, content="\n".join(lines)).full_path

    def test_without_flags_the_defaults_run(self):
        self.assertEqual(self.run_main(), (None, "", Experiment()))

    def test_flags_are_settings(self):
        _, _, experiment = self.run_main(
            "--epochs=7", "--noflip", "--temperature=2", "--divergence=ce", "--name=mine"
        )
        expected = Experiment(epochs=7, flip=False, temperature=2.0, divergence="ce", name="mine")
        self.assertEqual(experiment, expected)

    def test_a_run_is_called_like_its_flag_file(self):
        base = self.flag_file("base.flags", "--batch_size=8")
        path = self.flag_file("my_run.flags", "# a comment", f"--flagfile={base}", "--epochs=7")
        for arguments in ([f"--flagfile={path}"], ["--flagfile", path, "--seed=2"]):
            _, _, experiment = self.run_main(*arguments)
            self.assertEqual((experiment.batch_size, experiment.epochs), (8, 7))
            self.assertStartsWith(experiment.output_dir, "runs/my_run/seed")
        _, _, experiment = self.run_main(f"--flagfile={path}", "--name=other")
        self.assertEqual(experiment.output_dir, "runs/other/seed0")

    def test_flags_txt_runs_the_same_again(self):
        from ipkd_tf.training import workdir

        directory = self.create_tempdir().full_path
        experiment = Experiment(
            workdir=directory,
            name="mine",
            flip=False,
            model_arguments='{"blocks": [4, 2]}',
            learning_rate_drops="",
            weight_decay=5e-4,
        )
        flag_file = workdir.prepare(experiment) / "flags.txt"
        self.assertEqual(self.run_main(f"--flagfile={flag_file}")[2], experiment)

    @parameterized.parameters(
        ("--temperature=-1", "train_main: temperature must be a number above 0. Received: "),
        ("--method=ipkd_ta_9", "train_main: method must be one of none, ipkd, "),
        ("quickstart", "train_main: settings are given as --name=value. Received: quickstart"),
    )
    def test_a_wrong_setting_is_one_line(self, argument, message):
        status, errors, experiment = self.run_main(argument)
        self.assertEqual((status, experiment, errors.count("\n")), (1, None, 1))
        self.assertStartsWith(errors, message)

    @parameterized.parameters(ValueError, OSError, FloatingPointError)
    def test_errors_of_a_run_are_one_line_unless_verbose(self, error):
        status, errors, _ = self.run_main(run=error("no data. Received: dataset=x"))
        self.assertEqual((status, errors), (1, "train_main: no data. Received: dataset=x\n"))
        with self.assertRaisesRegex(error, "no data"):
            self.run_main("--verbosity=1", run=error("no data. Received: dataset=x"))

    def test_a_defect_keeps_its_traceback(self):
        with self.assertRaises(ZeroDivisionError):
            self.run_main(run=ZeroDivisionError)

    def test_sigterm_is_a_success_that_says_how_to_go_on(self):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            status, errors, _ = self.run_main(run=Terminated)
        self.assertEqual((status, errors), (None, ""))
        self.assertIn("the same command goes on", printed.getvalue())

    def test_ctrl_c_says_how_to_go_on(self):
        status, errors, _ = self.run_main(run=KeyboardInterrupt)
        self.assertEqual(status, 130)
        self.assertIn("the same command goes on", errors)

    def test_a_finished_run_says_what_comes_next(self):
        result = {"best": [{"name": "exit_1"}, {"name": "exit_2"}]}
        for model, own in (("msdnet", ""), ("my_net:MyNet", " --model=my_net:MyNet")):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                self.run_main("--workdir=here", f"--model={model}", run=lambda _: result)
            self.assertEqual(
                printed.getvalue(),
                f"Next: python -m ipkd_tf export --run=here --submodel=exit_1{own}, or "
                "python -m ipkd_tf report here\n",
            )


class CommandTest(parameterized.TestCase):
    def command(self, *arguments, program=("train_main.py",)):
        # A TensorFlow that cannot be imported shows that it was not asked for.
        trap = self.create_tempdir()
        trap.create_file("tensorflow.py", content="raise SystemExit('TensorFlow was imported')")
        environment = {**os.environ, "PYTHONPATH": f"{trap.full_path}{os.pathsep}{ROOT}"}
        command = [sys.executable, *program, *arguments]
        settings = {"env": environment, "cwd": ROOT, "timeout": 60}
        return subprocess.run(command, capture_output=True, text=True, **settings)

    def test_help_explains_every_setting(self):
        shown = self.command("--help").stdout
        for field in dataclasses.fields(Experiment):
            self.assertRegex(shown, rf"--(\[no\])?{field.name}: ")

    @parameterized.parameters(
        ("--run=nowhere", "directory of a finished run.*run='nowhere'"),
        ("--preset=msdnet_small_digits --epoch=last", "its best epoch alone.*epoch='last'"),
    )
    def test_a_run_that_is_not_there_is_refused_at_once(self, arguments, message):
        done = self.command(*arguments.split(), program=("-m", "ipkd_tf", "evaluate"))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, rf"\Aevaluate: .*{message}.*\n\Z")

    @parameterized.parameters("--epoch=3", "--schedule=parabola", "--epochs=many", "--momentum=2")
    def test_a_wrong_flag_is_refused_at_once(self, argument):
        done = self.command(argument)
        self.assertEqual(done.returncode, 1)
        self.assertLessEqual(done.stderr.count("\n"), 3)
        self.assertIn(argument.strip("-").partition("=")[0], done.stderr)


class RunFilesTest(parameterized.TestCase):
    @parameterized.parameters("quickstart", "quickstart_slimmable", "quickstart_sp")
    def test_committed_runs_parse(self, name):
        argv = ["train_main.py", f"--flagfile={ROOT / 'runs' / name}.flags"]
        with flagsaver.flagsaver():
            flags.FLAGS(argv)
            experiment = train.experiment_from_flags(argv[1:])
        self.assertEqual(experiment.output_dir, f"runs/{name}/seed0")
        self.assertEqual((experiment.dataset, experiment.method), ("digits", "ipkd_ta_m"))
