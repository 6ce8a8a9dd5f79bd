"""The report as files, its figures, and tables between marks."""

import base64
import io
import os
import pathlib
import re

import pandas as pd
from absl.testing import absltest
from PIL import Image

from ipkd_tf.reports import comparison, document, figures, paper, runs
from tests.reports.results import write_result
from tests.reports.test_tables import compare


class DocumentTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        for seed, accuracy in enumerate((0.5, 0.7)):
            write_result(self.root / "runs", "none", seed, (accuracy, 0.8))
        write_result(self.root / "runs", "ipkd", 0, (0.6, 0.9))
        self.one = compare(self.root / "runs")

    def test_files(self):
        output = self.root / "a" / "report"
        written = document.write(output, [self.one], {"runs/x": "unfinished"})
        names = ["report.md", "report.html", "summary.csv", "report.tex"]
        names += ["toy_digits.png", "toy_digits.pdf"]
        self.assertEqual([path.name for path in written], names)
        self.assertCountEqual(os.listdir(output), names)
        text = (output / "report.md").read_text()
        self.assertIn("\n## toy on digits\n\n| sub-model ", text)
        self.assertIn("](toy_digits.png)\n", text)
        self.assertIn("\n## Not included\n\n* runs/x: unfinished\n", text)
        self.assertEqual((output / "report.tex").read_text().count("\\begin{table}"), 3)
        self.assertEqual((output / "toy_digits.pdf").read_bytes()[:5], b"%PDF-")

    def test_only_the_formats_asked_for(self):
        document.write(self.root / "report", [self.one], formats=["latex"])
        self.assertCountEqual(os.listdir(self.root / "report"), ["report.tex", "toy_digits.pdf"])
        with self.assertRaisesRegex(ValueError, "some of markdown, html, csv, latex.*word"):
            document.write(self.root, [self.one], formats=["word"])

    def test_html_stands_alone_and_runs_nothing(self):
        document.write(self.root / "report", [self.one], {"a<script>": "&"}, ["html"])
        self.assertEqual(os.listdir(self.root / "report"), ["report.html"])
        text = (self.root / "report" / "report.html").read_text()
        self.assertNotIn("<script", text)
        self.assertIn("<li>a&lt;script&gt;: &amp;</li>", text)
        self.assertIn("default-src 'none'", text)
        (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
        self.assertGreater(Image.open(io.BytesIO(base64.b64decode(picture))).width, 1000)
        self.assertNotRegex(text, r'(src|href)="(?!data:)')
        heads = re.findall(r"<tr>\s*<td[^>]*>([^<]*)</td>", text)
        self.assertEqual(heads[:3], ["exit_1", "exit_2", "average"])
        self.assertIn("<strong>", text)

    def test_summary_in_long_form(self):
        text = document.summary([self.one]).to_csv(index=False)
        row = pd.read_csv(io.StringIO(text)).set_index(["method", "submodel"]).loc["ipkd", "exit_1"]
        self.assertEqual((row["model"], row["dataset"], row["runs"]), ("toy", "digits", 1))
        self.assertAlmostEqual(row["difference"], 10)

    def test_data_sets_of_similar_names_have_files_of_their_own(self):
        for number, dataset in enumerate(("folder:a/b", "folder:a_b")):
            settings = {"model": "my.net:Net", "dataset": dataset, "name": str(number)}
            write_result(self.root / "user", "none", **settings)
        rows, _ = runs.gather([self.root / "user"])
        both = comparison.compare(runs.label_variants(rows[rows["which"] == "best"]))
        document.write(self.root / "report", both)
        names = ["my.net_Net_folder_a_b", "my.net_Net_folder_a_b_2"]
        expected = [f"{name}.{ending}" for name in names for ending in ("png", "pdf")]
        self.assertContainsSubset(expected, os.listdir(self.root / "report"))
        for name in names:
            self.assertIn(f"]({name}.png)", (self.root / "report" / "report.md").read_text())
            text = (self.root / "report" / "report.tex").read_text()
            self.assertIn(f"\\label{{tab:{name}}}", text)
        self.assertStartsWith(text, "% Needs \\usepackage{booktabs}.\n")


class FiguresTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def test_points_and_bars(self):
        for seed, accuracy in enumerate((0.5, 0.7)):
            write_result(self.root, "none", seed, (accuracy, 0.8))
        by_submodel, by_cost = figures.draw(compare(self.root)).axes
        (container,) = by_cost.containers
        line, _, (bars,) = container.lines
        self.assertSequenceAlmostEqual(line.get_xdata(), [1, 2])
        self.assertSequenceAlmostEqual(line.get_ydata(), [60, 80])
        low, high = bars.get_segments()[0][:, 1]
        self.assertAlmostEqual(high - low, 2 * 14.142136, places=5)
        self.assertEqual(
            [t.get_text() for t in by_submodel.get_xticklabels()], ["exit_1", "exit_2"]
        )

    def test_the_papers_method_is_the_strongest_line(self):
        for method in ("none", "ipkd", "ipkd_ta_m", "0:1"):
            write_result(self.root, method, name=method.replace(":", "_"))
        axes, _ = figures.draw(compare(self.root)).axes
        darkness = {c.get_label(): sum(c.lines[0].get_color()[:3]) for c in axes.containers}
        self.assertEqual(min(darkness, key=darkness.get), "IPKD-TA-M")

    def test_the_paper_is_a_panel_on_the_same_scale(self):
        names = tuple(paper.accuracies("slimmable_mobilenet_v1", "cifar10").index[:-1])
        write_result(
            self.root,
            "ipkd_ta_m",
            accuracies=[0.5, 0.6, 0.7, 0.8],
            model="slimmable_mobilenet_v1",
            dataset="cifar10",
            submodels=names,
        )
        ours, _, papers = figures.draw(compare(self.root)).axes
        (line,) = papers.lines
        self.assertSequenceAlmostEqual(line.get_ydata(), [86.36, 89.15, 90.45, 90.54])
        self.assertEqual(ours.get_ylim(), papers.get_ylim())


class MarksTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        root = pathlib.Path(self.create_tempdir().full_path)
        write_result(root, "none", accuracies=(0.5, 0.75))
        write_result(root, "ipkd", accuracies=(0.625, 0.75))
        self.one = compare(root)

    def test_what_stands_between_is_replaced_and_nothing_else(self):
        text = (
            "before\n<!-- report: toy digits -->\nold | table\n<!-- end -->\nbetween\n"
            "<!-- report: toy digits differences -->\n<!-- end -->\nafter <!-- end -->\n"
        )
        filled = document.fill(text, [self.one])
        self.assertStartsWith(filled, "before\n<!-- report: toy digits -->\n| sub-model ")
        self.assertNotIn("old | table", filled)
        self.assertRegex(filled, r"unknown\.\n<!-- end -->\nbetween\n")
        self.assertRegex(filled, r"\| exit_1 +\| +\+12.50 \|")
        self.assertEndsWith(filled, "<!-- end -->\nafter <!-- end -->\n")
        self.assertEqual(document.fill(filled, [self.one]), filled)

    def test_errors(self):
        with self.assertRaisesRegex(ValueError, "a finished run for.*report: toy cifar10"):
            document.fill("<!-- report: toy cifar10 -->\n<!-- end -->", [self.one])
        with self.assertRaisesRegex(ValueError, "Expected marks"):
            document.fill("# nothing", [self.one])
        with self.assertRaisesRegex(ValueError, "DATASET differences.*report: toy -->"):
            document.fill("<!-- report: toy -->\n<!-- end -->", [self.one])

    def test_a_mark_without_its_end_swallows_nothing(self):
        mark = "<!-- report: toy digits -->\n"
        for rest in ("# Mine\n<!-- test command -->\n<!-- end -->\n", mark + "<!-- end -->", ""):
            with self.assertRaisesRegex(ValueError, "before any other comment.*toy digits"):
                document.fill(mark + rest, [self.one])


if __name__ == "__main__":
    absltest.main()
