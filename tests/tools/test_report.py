"""The program report from its flags to its files."""

import contextlib
import os
import pathlib

from absl.testing import parameterized

from ipkd_tf.tools import report
from tests.reports.results import write_result
from tests.tools.test_programs import run_program


class ReportTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(contextlib.chdir(self.create_tempdir().full_path))
        for seed, accuracy in enumerate((0.5, 0.7)):
            write_result("runs", "none", seed, (accuracy, 0.8))
            write_result("runs", "ipkd", seed, (accuracy + 0.1, 0.8))

    def test_the_directory_runs_unless_told_otherwise(self):
        write_result("runs", "ipkd", 2, changes={"state": "running", "last_epoch": 1})
        for name in ("a", "b"):  # as a sweep leaves behind that fails
            path = pathlib.Path("runs", name, "seed0", "flags.txt")
            path.parent.mkdir(parents=True)
            path.touch()
        expected = (
            "report: left out, unfinished: no epoch is done: runs/a/seed0, runs/b/seed0\n"
            "report: left out, unfinished: 1 of 4 epochs are done: runs/ipkd/seed2\n"
        )
        status, out, err = run_program(report)
        self.assertEqual(status, 0)
        self.assertEqual(err, expected)
        self.assertRegex(out, r"exit_1 +\| +60.00 ± 14.14 \| +\*\*70.00 ± 14.14\*\* \|")
        text = pathlib.Path("runs/report/report.md").read_text()
        self.assertIn("* runs/ipkd/seed2: unfinished", text)

    def test_csv_and_readme_and_again_from_the_csv(self):
        pathlib.Path("a.md").write_text("<!-- report: toy digits differences -->\n<!-- end -->\n")
        flags = ("--csv=runs/results.csv", "--readme=a.md", "--formats=csv", "--output=first")
        status, _, _ = run_program(report, "runs/none", "runs/ipkd", *flags)
        self.assertEqual(status, 0)
        table = pathlib.Path("a.md").read_text()
        self.assertRegex(table, r"exit_1 +\| +\+10.00 \[\+10.00, \+10.00\]‡ \|")
        flags = ("--csv=again.csv", "--readme=a.md", "--formats=csv", "--output=second")
        run_program(report, "runs/results.csv", "runs/none", *flags)
        self.assertEqual(pathlib.Path("a.md").read_text(), table)
        for first, again in (
            ("runs/results.csv", "again.csv"),
            ("first/summary.csv", "second/summary.csv"),
        ):
            self.assertEqual(pathlib.Path(first).read_text(), pathlib.Path(again).read_text())

    def test_the_last_epoch_and_another_baseline(self):
        _, out, _ = run_program(report, "runs", "--epoch=last", "--baseline=ipkd")
        self.assertRegex(out, r"exit_1 +\| +50.00 ± 14.14 \| ")
        self.assertRegex(out, r"\| exit_1 +\| -10.00 \[-10.00, -10.00\]‡ \|")

    def test_mixed_settings_only_when_told_to(self):
        write_result("runs", "none", 0, name="warm", temperature=9.0)
        status, out, err = run_program(report)
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, r"\A[\w.]*report: .*temperature=5.0 in .*, temperature=9.0 in .*\n\Z")
        self.assertFalse(os.path.exists("runs/report"))
        status, out, _ = run_program(report, "--mix")
        self.assertEqual(status, 0)
        self.assertIn("No distillation, temperature=9.0†", out)

    @parameterized.parameters(
        (("nowhere",), "Received: path='nowhere'"),
        (("--readme=b.md",), "Expected marks"),
        (("--readme=absent.md",), "absent.md"),
        (("--formats=word",), "some of markdown, html, csv, latex"),
    )
    def test_errors_are_one_line_and_leave_files_alone(self, arguments, message):
        pathlib.Path("b.md").write_text("# no marks\n")
        status, _, err = run_program(report, *arguments)
        self.assertEqual(status, 1)
        self.assertRegex(err, rf"\A[^\n]*{message}[^\n]*\n\Z")
        self.assertEqual(pathlib.Path("b.md").read_text(), "# no marks\n")

    def test_nothing_finished(self):
        write_result("other", "none", changes={"state": "running"})
        status, _, err = run_program(report, "other")
        self.assertEqual(status, 1)
        self.assertIn("left out, unfinished: 4 of 4", err)
        self.assertIn("at least one finished run. Received: paths='other'", err)
