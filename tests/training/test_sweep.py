"""Runs one after another, on a stand-in for the training program."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

from absl.testing import absltest

from ipkd_tf.training import sweep
from ipkd_tf.training.experiment import Experiment
from tests.reports.results import write_result

ROOT = pathlib.Path(__file__).parents[2]


class SweepTest(absltest.TestCase):
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

    def test_a_signal_reaches_the_run_once_and_ends_the_sweep(self):
        code = textwrap.dedent("""
            import pathlib, signal, sys, time
            came = []
            signal.signal(signal.SIGINT, lambda number, frame: came.append("SIGINT"))
            signal.signal(signal.SIGTERM, lambda number, frame: came.append("SIGTERM"))
            pathlib.Path(sys.argv[1], "begun").touch()
            while not came:
                time.sleep(0.01)
            time.sleep(0.3)
            pathlib.Path(sys.argv[1], "came").write_text(" ".join(came))
        """)
        driver = textwrap.dedent("""
            import sys
            from ipkd_tf.training import sweep
            from ipkd_tf.training.experiment import Experiment
            root, code = sys.argv[1:]
            runs = [
                sweep.Run(Experiment(workdir=f"{root}/{n}"), [sys.executable, "-c", code, root])
                for n in range(2)
            ]
            print(sweep.sweep(runs)[1])
        """)
        process = subprocess.Popen(
            [sys.executable, "-c", driver, str(self.root), code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 60
        while not (self.root / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        out, _ = process.communicate(timeout=60)
        self.assertEqual((self.root / "came").read_text(), "SIGINT")
        self.assertEndsWith(out, f"{int(signal.SIGINT)}\n")
        self.assertNotIn("[2/2]", out)


if __name__ == "__main__":
    absltest.main()
