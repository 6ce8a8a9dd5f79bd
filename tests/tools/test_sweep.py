"""The program sweep, on a stand-in for the training program."""

import contextlib
import json
import os
import pathlib
import shutil
import sys
import textwrap
from unittest import mock

from absl.testing import parameterized

from ipkd_tf.tools import sweep
from tests.reports.results import write_result
from tests.tools.test_programs import run_program

# Writes down how it was called and finishes with a prepared result.
TRAIN_MAIN = textwrap.dedent("""
    import json, shutil, sys
    flags = dict(a.removeprefix("--").split("=") for a in sys.argv[1:])
    print(json.dumps(sys.argv[1:]), file=open("calls", "a"))
    name = flags["flagfile"].removesuffix(".flags")
    if name == "broken":
        sys.exit(5)
    shutil.copytree(f"prepared/{name}/seed{flags['seed']}", f"runs/{name}/seed{flags['seed']}")
""")


class SweepTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        self.enter_context(contextlib.chdir(self.root))
        pathlib.Path("stand_in.py").write_text(TRAIN_MAIN)
        command = [sys.executable, "stand_in.py"]
        self.enter_context(mock.patch.object(sweep, "_COMMAND", command))
        pathlib.Path("base").write_text("--model=toy\n--epochs=9\n--noflip\n--weight_decay=5e-4\n")
        for method in ("none", "ipkd"):
            pathlib.Path(f"{method}.flags").write_text(
                f"# a comment\n--flagfile=base\n--method={method}\n--epochs=4\n"
            )
            for seed, accuracy in ((3, 0.5), (5, 0.7)):
                settings = {"flip": False, "weight_decay": 5e-4, "deterministic": True}
                write_result("prepared", method, seed, (accuracy, 0.8), **settings)

    def calls(self):
        return [json.loads(line) for line in pathlib.Path("calls").read_text().splitlines()]

    def test_seeds_then_flag_files_then_the_report(self):
        arguments = ("none.flags", "ipkd.flags", "--seeds=3,5", "--formats=markdown", "--")
        status, out, err = run_program(sweep, *arguments, "--deterministic=true")
        self.assertEqual((status, err), (0, ""))
        expected = [
            [f"--flagfile={file}.flags", "--deterministic=true", f"--seed={seed}"]
            for seed in (3, 5)
            for file in ("none", "ipkd")
        ]
        self.assertEqual(self.calls(), expected)
        self.assertIn("4 of 4 runs are finished.", out)
        self.assertIn("60.00 ± 14.14", out)
        self.assertTrue(pathlib.Path("runs/report/report.md").is_file())
        status, out, _ = run_program(sweep, *arguments, "--deterministic=true")
        self.assertLen(self.calls(), 4)
        self.assertIn("[4/4] runs/ipkd/seed5 is finished", out)

    def test_each_sub_model_alone(self):
        for name, accuracy in (("exit_1", 0.6), ("exit_2", 0.8)):
            settings = {"flip": False, "weight_decay": 5e-4, "submodel": name}
            write_result(
                "prepared", "none", 3, (accuracy,), f"none_{name}", submodels=(name,), **settings
            )
        # The stand-in copies by the flag file's name; the run's own ends in the sub-model.
        stand_in = pathlib.Path("stand_in.py")
        stand_in.write_text(
            stand_in.read_text().replace(
                'removesuffix(".flags")', 'removesuffix(".flags") + "_" + flags["submodel"]'
            )
        )
        arguments = ("none.flags", "--seeds=3", "--submodels=exit_1,exit_2", "--formats=markdown")
        status, out, err = run_program(sweep, *arguments)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            [call[1] for call in self.calls()], ["--submodel=exit_1", "--submodel=exit_2"]
        )
        self.assertRegex(out, r"Each alone†")
        self.assertRegex(out, r"average +\| +70.00")
        self.assertRegex(out, r"Each alone +\| +2 +\| +- +\| +25")

    def test_settings_that_vary(self):
        stand_in = pathlib.Path("stand_in.py")
        text = stand_in.read_text().replace('flags["flagfile"].removesuffix(".flags")', "NAME")
        text = text.replace("name = NAME", 'name = flags.get("name", "none")')
        stand_in.write_text(text)
        shared = {"flip": False, "weight_decay": 5e-4}
        for epochs in (4, 8):
            for method, levers in (("none", {}), ("0:1", {}), ("0:1", {"temperature": 2.0})):
                parts = (
                    ["none"] + ["epochs_8"] * (epochs == 8) + ["method_0_1"] * (method != "none")
                )
                name = "_".join([*parts, *["temperature_2"] * bool(levers)])
                scores = (0.5 + 0.1 * (method != "none"), 0.8)
                settings = {**shared, **levers, "epochs": epochs}
                write_result("prepared", method, 7, scores, name, **settings)
        arguments = ["none.flags", "--vary=epochs=4,8", "--vary=method=none;0:1"]
        arguments += ["--vary=temperature=5,2", "--seeds=7", "--formats=markdown", "--mix"]
        pathlib.Path("all.sweep").write_text("# settings\n" + "\n".join(arguments))
        status, out, err = run_program(sweep, "--flagfile=all.sweep")
        self.assertEqual((status, err), (0, ""))
        # Without a teacher nothing depends on the temperature.
        expected = [
            ["--seed=7"],
            ["--method=0:1", "--name=none_method_0_1", "--seed=7"],
            [
                "--method=0:1",
                "--temperature=2",
                "--name=none_method_0_1_temperature_2",
                "--seed=7",
            ],
            ["--epochs=8", "--name=none_epochs_8", "--seed=7"],
            ["--epochs=8", "--method=0:1", "--name=none_epochs_8_method_0_1", "--seed=7"],
        ]
        calls = self.calls()
        self.assertEqual([call[1:] for call in calls[:-1]], expected)
        self.assertLen(calls, 6)
        self.assertIn("6 of 6 runs are finished.", out)
        run_program(sweep, "--flagfile=all.sweep")
        self.assertLen(self.calls(), 6)

    def test_runs_of_another_machine_are_reported_and_made_only_to_teach(self):
        options = ("--formats=markdown", "--csv=scores.csv")
        deterministic = ("--", "--deterministic=true")
        run_program(sweep, "none.flags", "--seeds=3,5", *options, *deterministic)
        shutil.rmtree("runs")
        arguments = ("none.flags", "ipkd.flags", "--seeds=3,5", "--recorded=scores.csv", *options)
        status, out, err = run_program(sweep, *arguments, *deterministic)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("Scores of 2 of 4 runs are recorded.", out)
        self.assertIn("4 of 4 runs are finished.", out)
        self.assertLen(self.calls(), 4)  # two on each machine
        self.assertRegex(out, r"average +\| +\*\*70.00 ± 7.07\*\* \| +\*\*70.00 ± 7.07\*\*")
        scores = pathlib.Path("scores.csv").read_text()
        self.assertLen(scores.splitlines(), 1 + 4 * 2 * 2)
        run_program(sweep, *arguments, *deterministic)
        self.assertEqual(pathlib.Path("scores.csv").read_text(), scores)

        # With other settings none is recorded, and what is only teaches.
        status, out, _ = run_program(sweep, *arguments)
        self.assertNotIn("recorded", out)
        shutil.rmtree("runs")
        pathlib.Path("calls").unlink()
        taught = pathlib.Path("taught.flags")
        taught.write_text(
            "--flagfile=base\n--epochs=4\n--method=kd\n--teacher=runs/none/seed{seed}\n"
        )
        files = ("none.flags", "ipkd.flags", "taught.flags", "--seeds=3", "--recorded=scores.csv")
        status, out, _ = run_program(sweep, *files, *options, *deterministic)
        self.assertEqual(
            [call[0] for call in self.calls()], ["--flagfile=none.flags", "--flagfile=taught.flags"]
        )

    def test_a_failing_run_gives_status_1_and_a_report_of_the_rest(self):
        pathlib.Path("broken.flags").write_text("--epochs=4\n")
        arguments = ("broken.flags", "none.flags", "--seeds=3", "--formats=csv")
        status, out, err = run_program(sweep, *arguments, "--", "--deterministic=true")
        self.assertEqual((status, err), (1, "sweep: runs/broken/seed3 failed, status 5\n"))
        self.assertIn("1 of 2 runs are finished.", out)
        self.assertEqual(os.listdir("runs/report"), ["summary.csv"])

    @parameterized.parameters(
        ((), "Expected flag files"),
        (("absent.flags",), "absent.flags"),
        (("none.flags", "--", "--epochs=many"), "flag --epochs=many: invalid literal for int"),
        (("none.flags", "--", "--epoch=1"), "Unknown command line flag 'epoch'"),
        (("none.flags", "--seeds=-1"), "seed must be .* Received: seed=-1"),
        (("none.flags", "none.flags"), "same directory"),
        (("none.flags", "--vary=epochs"), "such as epochs=6,20 .*Received: vary='epochs'"),
        (("none.flags", "--vary=seed=1,2"), "flags of their own.*Received: vary='seed=1,2'"),
        (("none.flags", "--vary=epochs=6,many"), "none.flags: flag --epochs=many"),
        (("none.flags", "--vary=epoch=6"), "Unknown command line flag 'epoch'"),
        (("none.flags", "--", "--dataset=folder:away"), "sweep: Expected a folder that holds"),
    )
    def test_errors_come_before_the_first_run(self, arguments, message):
        status, _, err = run_program(sweep, *arguments)
        self.assertEqual(status, 1)
        self.assertRegex(err, message)
        self.assertFalse(pathlib.Path("calls").exists())
