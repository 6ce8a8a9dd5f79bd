"""Runs one after another, on a stand-in for the training program."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from unittest import mock

from absl.testing import absltest, parameterized

from ipkd_tf.training import sweep
from ipkd_tf.training.experiment import Experiment
from tests.reports.results import write_result

ROOT = pathlib.Path(__file__).parents[2]


class SweepTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        self.trained = []

    def run_that(self, action, name, **settings):
        """A Run whose process does what Python code says."""
        settings = {"model": "toy", "epochs": 4, "method": "none", **settings}
        experiment = Experiment(name=name, workdir=str(self.root / name / "seed0"), **settings)
        return sweep.Run(experiment, [sys.executable, "-c", action])

    def finishes(self, name):
        """Code that leaves a finished run behind and a line in a log."""
        there = write_result(self.root / "prepared", "none", name=name)
        here = self.root / name / "seed0"
        return textwrap.dedent(f"""
            import shutil
            shutil.copytree({str(there)!r}, {str(here)!r})
            print({name!r}, file=open({str(self.root / "log")!r}, "a"))
        """)

    def log(self):
        return (self.root / "log").read_text().split()

    def test_in_order_and_only_what_is_not_finished(self):
        write_result(self.root, "none", name="b")
        runs = [self.run_that(self.finishes(name), name) for name in ("c", "b", "a")]
        self.assertEqual(sweep.sweep(runs), ({}, None))
        self.assertEqual(self.log(), ["c", "a"])
        self.assertEqual(sweep.sweep(runs), ({}, None))
        self.assertEqual(self.log(), ["c", "a"])

    def test_a_failing_run_is_named_and_the_rest_goes_on(self):
        runs = [
            self.run_that("raise SystemExit(3)", "bad"),
            self.run_that("", "silent"),
            self.run_that(self.finishes("good"), "good"),
        ]
        failed, received = sweep.sweep(runs)
        self.assertEqual(failed, {runs[0].directory: 3, runs[1].directory: 0})
        self.assertIsNone(received)
        self.assertEqual(self.log(), ["good"])

    def test_two_at_a_time_each_on_its_share_of_the_machine(self):
        # Each waits until the other has begun, and writes down what it may use.
        def action(name, other):
            return textwrap.dedent(f"""
                import os, pathlib, time
                root = pathlib.Path({str(self.root)!r})
                (root / "{name}_begun").touch()
                while not (root / "{other}_begun").exists():
                    time.sleep(0.01)
                cores = len(getattr(os, "sched_getaffinity", lambda pid: [])(0))
                gpus = os.environ["CUDA_VISIBLE_DEVICES"]
                (root / "{name}_uses").write_text(f"{{cores}} {{gpus}}")
            """) + self.finishes(name)

        runs = [self.run_that(action("a", "b"), "a"), self.run_that(action("b", "a"), "b")]
        with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES="3,5,7"):
            self.assertEqual(sweep.sweep(runs, jobs=2), ({}, None))
        self.assertCountEqual(self.log(), ["a", "b"])
        uses = sorted((self.root / f"{name}_uses").read_text().split()[1] for name in "ab")
        self.assertEqual(uses, ["3,7", "5"])
        if hasattr(os, "sched_getaffinity"):
            cores = [int((self.root / f"{name}_uses").read_text().split()[0]) for name in "ab"]
            everything = len(os.sched_getaffinity(0))
            self.assertEqual(sum(cores), everything if everything > 1 else 2)

    def test_a_student_waits_for_its_teacher_and_another_run_goes_before(self):
        teacher = self.run_that("import time; time.sleep(0.5)\n" + self.finishes("t"), "t")
        taught = {"method": "kd", "teacher": str(teacher.directory)}
        student = self.run_that("print('the student begins')", "student", **taught)
        other = self.run_that(self.finishes("other"), "other")
        with mock.patch("builtins.print") as printed:
            failed, _ = sweep.sweep([student, teacher, other], jobs=2)
        lines = "\n".join(str(call.args[0]) for call in printed.call_args_list)
        self.assertEqual(self.log(), ["other", "t"])
        self.assertIn("student/seed0: the student begins", lines)
        self.assertEqual(failed, {student.directory: 0})

    def test_other_settings_and_unfinished_states_are_not_this_run(self):
        write_result(self.root, "none", name="other", temperature=2.0)
        write_result(self.root, "none", name="running", changes={"state": "running"})
        self.assertIsNone(self.run_that("", "other").result)
        self.assertIsNone(self.run_that("", "running").result)
        write_result(self.root, "none", name="same", checkpoint_minutes=1.0)
        self.assertEqual(self.run_that("", "same").result["name"], "same")

    def test_another_model_or_data_set_is_not_this_run(self):
        write_result(self.root, "none", name="a")
        self.assertEqual(self.run_that("", "a").result["name"], "a")
        self.assertIsNone(self.run_that("", "a", model="other").result)
        self.assertIsNone(self.run_that("", "a", dataset="cifar10").result)
        self.assertIsNone(self.run_that("", "a", epochs=5).result)

    def test_data_that_changed_between_two_runs_is_refused(self):
        write_result(self.root, "none", name="a")
        write_result(self.root, "none", name="b", changes={"data_digest": "another"})
        with self.assertRaisesRegex(ValueError, "data set digits changed.*b/seed0.*another.*a/se"):
            sweep.sweep([self.run_that("", "a"), self.run_that("", "b")])

    def test_time_left_is_what_runs_of_the_name_took(self):
        write_result(self.root, "none", name="short")
        write_result(self.root, "none", name="long", changes={"seconds": {"training": 100}})
        runs = [self.run_that("", name) for name in ("short", "long", "unknown")]
        again = sweep.Run(
            Experiment(name="long", workdir=str(self.root / "new"), epochs=4, method="none"), []
        )
        # 100 s as the other run called long, and (12.5 + 100) / 2 s for the one never seen.
        self.assertEqual(sweep._time_left([runs[2], again], runs), "about 0:02:36 left")
        self.assertEqual(sweep._time_left([again], [again]), "time left unknown")

    def test_one_directory_for_two_runs_is_refused(self):
        runs = [self.run_that("", "a"), self.run_that("", "a")]
        with self.assertRaisesRegex(ValueError, "same directory.*Received: workdir='.*a/seed0'"):
            sweep.sweep(runs)

    @parameterized.parameters(1, 2)
    def test_a_signal_reaches_each_run_once_and_ends_the_sweep(self, jobs):
        code = textwrap.dedent("""
            import pathlib, signal, sys, time
            came = []
            signal.signal(signal.SIGINT, lambda number, frame: came.append("SIGINT"))
            signal.signal(signal.SIGTERM, lambda number, frame: came.append("SIGTERM"))
            root, number = pathlib.Path(sys.argv[1]), sys.argv[2]
            (root / f"begun{number}").touch()
            while not came:
                time.sleep(0.01)
            time.sleep(0.3)
            (root / f"came{number}").write_text(" ".join(came))
        """)
        driver = textwrap.dedent("""
            import sys
            from ipkd_tf.training import sweep
            from ipkd_tf.training.experiment import Experiment
            root, code, jobs = sys.argv[1:]
            command = [sys.executable, "-c", code, root]
            runs = [
                sweep.Run(Experiment(workdir=f"{root}/{n}"), [*command, str(n)]) for n in range(3)
            ]
            print(sweep.sweep(runs, int(jobs))[1])
        """)
        process = subprocess.Popen(
            [sys.executable, "-c", driver, str(self.root), code, str(jobs)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 60
        begun = [self.root / f"begun{number}" for number in range(jobs)]
        while not all(path.exists() for path in begun) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        out, _ = process.communicate(timeout=60)
        for number in range(jobs):
            self.assertEqual((self.root / f"came{number}").read_text(), "SIGINT")
        self.assertEndsWith(out, f"{int(signal.SIGINT)}\n")
        self.assertNotIn(f"[{jobs + 1}/3]", out)


if __name__ == "__main__":
    absltest.main()
