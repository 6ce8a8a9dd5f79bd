"""Curves over settings, counts of who is ahead, and ranked graphs, worked by hand."""

import math
import pathlib

import pandas as pd
from absl.testing import absltest

from ipkd_tf.reports import comparison, document, evidence, runs
from tests.reports.results import write_result

T_1, T_2 = 12.706205, 4.302653  # 0.975 quantiles of Student's t, from a printed table
# Gain of TA-M over none in points, of exit_1 by seed, at 4, 8 and 20 epochs; exit_2 gains none.
GAINS = {4: (-4, -8), 8: (-2, 0), 20: (4, 8)}


class EvidenceTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def compare(self, **options):
        rows, _ = runs.gather([self.root])
        rows = runs.label_variants(rows[rows["which"] == "best"], split=True)
        return comparison.compare(rows, **options)

    def write_curve(self, dataset="digits"):
        for epochs, gains in GAINS.items():
            for seed, gain in enumerate(gains):
                settings = {"dataset": dataset, "epochs": epochs}
                name = f"{dataset}_{epochs}"
                write_result(self.root, "none", seed, (0.5, 0.8), name, **settings)
                accuracies = (0.5 + gain / 100, 0.8)
                write_result(self.root, "ipkd_ta_m", seed, accuracies, f"{name}_m", **settings)

    def test_settings_are_comparisons_in_the_order_of_their_numbers(self):
        self.write_curve()
        write_result(self.root, "ipkd_ta_m", 0, (0.6, 0.8), "ramp", epochs=8, distillation_ramp=0.5)
        found = self.compare()
        self.assertEqual([one.setting for one in found], ["epochs=4", "epochs=8", "epochs=20"])
        self.assertEqual(found[2].title, "toy on digits, epochs=20")
        # What only concerns teaching makes columns, all with the one baseline.
        variants = [tuple(variant) for variant in found[1].variants]
        expected = [("none", "")]
        expected += [("ipkd_ta_m", f"distillation_ramp={ramp}") for ramp in (0.0, 0.5)]
        self.assertEqual(variants, expected)
        ramped = found[1].of("ipkd_ta_m", "distillation_ramp=0.5")
        self.assertAlmostEqual(ramped.loc["exit_1", "difference"], 10)

    def test_gain_against_epochs(self):
        self.write_curve()
        (along,) = (one for one in evidence.studies(self.compare()) if one.draw)
        self.assertEqual(along.title, "Gain against epochs, toy on digits")
        # Averages: half of exit_1's. At 4 epochs -2 and -4: mean -3, error 1; at 8 -1 and 0.
        self.assertEqual([*along.table.cells.index], ["4", "8", "20", "changes sign"])
        column = along.table.cells["IPKD-TA-M"]
        self.assertEqual(column["4"], f"-3.00 [{-3 - T_1:+.2f}, {-3 + T_1:+.2f}]")
        self.assertEqual(column["8"], f"-0.50 [{-0.5 - T_1 / 2:+.2f}, {-0.5 + T_1 / 2:+.2f}]")
        self.assertEqual(column["changes sign"], "8 to 20")
        (axes,) = along.draw().axes
        (container,) = axes.containers
        line, _, (bars,) = container.lines
        self.assertSequenceAlmostEqual(line.get_xdata(), [4, 8, 20])
        self.assertSequenceAlmostEqual(line.get_ydata(), [-3, -0.5, 3])
        low, high = bars.get_segments()[0][:, 1]
        self.assertAlmostEqual(high - low, 2 * T_1, places=4)

    def test_crossings(self):
        def cross(*gains):
            return evidence.crossing(pd.Series(gains, [6, 20, 60, 2000][: len(gains)]))

        self.assertEqual(cross(-1.0, -0.1, 0.2, 0.3), "20 to 60")
        self.assertEqual(cross(1.0, -1.0, 1.0, -1.0), "6 to 20, 20 to 60, 60 to 2,000")
        self.assertEqual(cross(1.0, 2.0), "never, always ahead")
        self.assertEqual(cross(-1.0, 0.0), "never ahead")

    def test_gain_against_images_and_what_else_differs(self):
        for images in (50, 500):
            for method, accuracy in (("none", 0.5), ("ipkd", 0.5 + images / 1e4)):
                changes = {"examples": {"train": images - 5, "validation": 5, "test": 100}}
                settings = {"train_examples": images, "changes": changes}
                name = f"{method}_{images}"
                write_result(self.root, method, 0, (accuracy, 0.8), name, **settings)
        write_result(self.root, "none", name="smooth", train_examples=500, label_smoothing=0.1)
        (along,) = evidence.studies(self.compare())
        self.assertEqual(
            along.title, "Gain against train images, toy on digits, label_smoothing=0.0"
        )
        column = along.table.cells["IPKD"]
        self.assertEqual([*column.index], ["45", "495", "changes sign"])
        self.assertEqual([*column], ["+0.25", "+2.50", "never, always ahead"])

    def test_how_often_the_papers_method_is_ahead(self):
        self.write_curve()
        write_result(self.root, "ipkd", 0, (0.4, 0.9), "ipkd", epochs=20)
        cells = evidence.count_ahead(self.compare()).cells
        self.assertEqual([*cells.index], ["No distillation"])  # IPKD is in one setting only
        # Averages -3, -0.5, 3: one of 3, mean -1/6; of exit_1 twice that.
        error = pd.Series([-3, -0.5, 3]).sem()
        self.assertAlmostEqual(
            error, math.sqrt((17 / 6) ** 2 + (1 / 3) ** 2 + (19 / 6) ** 2) / 6**0.5
        )
        for head, times in (("average", 1), ("smallest", 2)):
            low, high = (times * (-1 / 6 + sign * T_2 * error) for sign in (-1, 1))
            expected = f"1 of 3, {-times / 6:+.2f} [{low:+.2f}, {high:+.2f}]"
            self.assertEqual(cells.loc["No distillation", head], expected)
        self.assertEqual(cells.loc["No distillation", "largest"], "0 of 3, +0.00 [+0.00, +0.00]")
        write_result(self.root, "ipkd", 0, (0.4, 0.9), "ipkd_4", epochs=4)
        # 0.46 + 0.8 against 0.4 + 0.9, and 0.54 + 0.8: averages -2 and +2.
        cells = evidence.count_ahead(self.compare()).cells
        self.assertStartsWith(cells.loc["IPKD", "average"], "1 of 2, +0.00 [")
        self.assertIsNone(evidence.count_ahead(self.compare()[:1]))

    def test_graphs_are_ranked(self):
        accuracies = {"none": 0.5, "ipkd_ta_m": 0.6, "0:1": 0.7, "ipkd": 0.4}
        for number, (method, accuracy) in enumerate(accuracies.items()):
            for seed in (0, 1):
                write_result(self.root, method, seed, (accuracy, 0.8), str(number))
        (one,) = self.compare()
        cells = evidence.ranking(one).cells
        self.assertEqual([*cells.index], ["0:1", "IPKD-TA-M", "No distillation", "IPKD"])
        self.assertEqual([*cells.loc["0:1"]], ["75.00", "+10.00 [+10.00, +10.00]‡", "2"])
        self.assertIn("who teaches whom", document.markdown([one]))

    def test_the_report_has_them_and_their_figures(self):
        self.write_curve()
        found = self.compare()
        written = document.write(self.root / "report", found)
        names = {path.name for path in written}
        curve = "toy_on_digits_epochs"
        expected = {f"{curve}.png", f"{curve}.pdf", "toy_digits_epochs_4.png", "report.html"}
        self.assertContainsSubset(expected, names)
        text = (self.root / "report" / "report.md").read_text()
        self.assertStartsWith(text, "# Results\n\n## IPKD-TA-M against the others\n")
        self.assertIn(f"]({curve}.png)", text)
        self.assertIn("\n## toy on digits, epochs=8\n", text)
        html = (self.root / "report" / "report.html").read_text()
        self.assertEqual(html.count('src="data:image/png'), 4)
        self.assertNotIn('src="toy', html)
        frame = pd.read_csv(self.root / "report" / "summary.csv")
        self.assertEqual(set(frame["setting"]), {"epochs=4", "epochs=8", "epochs=20"})


class LossesTest(absltest.TestCase):
    def test_cross_entropy_and_calibration_error(self):
        from ipkd_tf.reports import tables

        root = pathlib.Path(self.create_tempdir().full_path)
        for method in ("none", "ipkd"):
            write_result(root, method)
        rows, _ = runs.gather([root])
        rows = rows[rows["which"] == "best"].copy()
        better = (rows["method"] == "ipkd") & (rows["submodel"] == "exit_1")
        rows.loc[better, "loss"] = 0.75
        rows.loc[rows["method"] == "none", "calibration_error"] = math.nan
        (one,) = comparison.compare(runs.label_variants(rows))
        cells = tables.losses(one).cells
        # Of none the calibration error is not known; of IPKD it is 0.125 everywhere.
        self.assertEqual([*cells.iloc[:, 0]], ["1.25", "**1.25**", "1.25"])
        self.assertEqual(
            [*cells.iloc[:, 1]], ["**0.75** (12.5)", "**1.25** (12.5)", "**1.00** (12.5)"]
        )


if __name__ == "__main__":
    absltest.main()
