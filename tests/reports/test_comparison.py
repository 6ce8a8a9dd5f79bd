"""Means, spreads and paired differences, worked by hand."""

import math
import pathlib
import shutil

from absl.testing import absltest

from ipkd_tf.reports import comparison, paper, runs, tables
from tests.reports.results import write_result

# 0.975 quantile of Student's t with 2 degrees of freedom, from a printed table.
T_2 = 4.302653


class ComparisonTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def compare(self, mix=False, **options):
        rows, _ = runs.gather([self.root])
        rows = runs.label_variants(rows[rows["which"] == "best"], mix)
        return comparison.compare(rows, **options)

    def test_mean_spread_and_paired_differences(self):
        for seed, exit_1 in enumerate((0.50, 0.60, 0.70)):
            write_result(self.root, "none", seed, (exit_1, 0.80))
        for seed, exit_1 in enumerate((0.51, 0.62, 0.73)):
            write_result(self.root, "ipkd", seed, (exit_1, 0.80))
        (one,) = self.compare()
        self.assertEqual(one.submodels, ["exit_1", "exit_2", "average"])
        none, ipkd = (one.of(method, "") for method in ("none", "ipkd"))
        self.assertAlmostEqual(none.loc["exit_1", "accuracy"], 60)
        self.assertAlmostEqual(none.loc["exit_1", "standard_deviation"], 10)
        self.assertAlmostEqual(none.loc["average", "accuracy"], 70)
        # Averages are 65, 70, 75: their own spread, not the mean of the spreads.
        self.assertAlmostEqual(none.loc["average", "standard_deviation"], 5)
        self.assertTrue(math.isnan(none.loc["exit_1", "difference"]))
        # Differences of the pairs are 1, 2, 3: mean 2, standard error 1 / sqrt(3).
        self.assertAlmostEqual(ipkd.loc["exit_1", "difference"], 2)
        half = T_2 / math.sqrt(3)
        self.assertAlmostEqual(ipkd.loc["exit_1", "confidence_low"], 2 - half, places=5)
        self.assertAlmostEqual(ipkd.loc["exit_1", "confidence_high"], 2 + half, places=5)
        self.assertEqual(ipkd.loc["exit_1", "pairs"], 3)
        self.assertAlmostEqual(ipkd.loc["average", "difference"], 1)

    def test_each_alone_is_a_column_with_what_all_take_together(self):
        changes = {"parameters": 210, "seconds": {"training": 40.0}}
        for seed in (0, 1):
            write_result(self.root, "none", seed, (0.5, 0.7), changes=changes)
            for name, accuracy, parameters, seconds in (
                ("exit_1", 0.6, 100, 10.0 + seed),
                ("exit_2", 0.8, 200, 30.0),
            ):
                write_result(
                    self.root,
                    seed=seed,
                    name=name,
                    accuracies=(accuracy,),
                    submodels=(name,),
                    submodel=name,
                    changes={"parameters": parameters, "seconds": {"training": seconds}},
                )
        (one,) = self.compare()
        self.assertEqual([variant.method for variant in one.variants], ["none", "alone"])
        self.assertEqual(one.submodels, ["exit_1", "exit_2", "average"])
        cells = one.of("alone", "")
        self.assertAlmostEqual(cells.loc["average", "accuracy"], 70)
        self.assertAlmostEqual(cells.loc["exit_1", "difference"], 10)
        self.assertEqual(cells.loc["average", "pairs"], 2)
        self.assertEqual([*one.training.loc[("none", "")]], [1, 210, 40])
        self.assertEqual([*one.training.loc[("alone", "")]], [2, 300, 40.5])
        table = tables.training(one).cells
        self.assertEqual([*table.loc["Each alone"]], ["2", "300", "40"])
        # Of one alone, the average would be of other sub-models than the baseline's.
        shutil.rmtree(self.root / "exit_2")
        (one,) = self.compare()
        self.assertTrue(math.isnan(one.of("alone", "").loc["average", "accuracy"]))

    def test_outside_teachers_make_columns_of_their_own(self):
        write_result(self.root)
        for name in ("runs/a/seed{seed}", "runs/b/seed{seed},x.keras"):
            write_result(self.root, "kd", name=name.replace("/", "_"), teacher=name)
        (one,) = self.compare()
        methods = [variant.method for variant in one.variants]
        self.assertEqual(methods, ["none", "kd by a", "kd by b,x.keras"])
        self.assertEqual(paper.title("kd by a"), "KD by a")
        self.assertAlmostEqual(one.of("kd by a", "").loc["average", "difference"], 0)
        self.assertIsNone(tables.training(one))

    def test_only_seeds_of_both_are_paired(self):
        write_result(self.root, "none", 0, (0.5, 0.5))
        write_result(self.root, "none", 1, (0.9, 0.9))
        write_result(self.root, "ipkd", 1, (0.8, 0.9))
        write_result(self.root, "ipkd", 2, (0.1, 0.1))
        write_result(self.root, "ipkd_ta_1", 5)
        (one,) = self.compare()
        cells = one.of("ipkd", "")
        self.assertAlmostEqual(cells.loc["exit_1", "difference"], -10)
        self.assertEqual(cells.loc["exit_1", "pairs"], 1)
        self.assertTrue(math.isnan(cells.loc["exit_1", "confidence_low"]))
        self.assertTrue(one.of("ipkd_ta_1", "")["difference"].isna().all())

    def test_another_baseline_and_the_order_of_the_paper(self):
        for method in ("0:1", "ipkd_ta_m", "none", "ipkd"):
            write_result(self.root, method, accuracies=(len(method) / 10, 0.9))
        (one,) = self.compare(baseline="ipkd_ta_m")
        self.assertEqual([m for m, _ in one.variants], ["none", "ipkd", "ipkd_ta_m", "0:1"])
        self.assertAlmostEqual(one.of("0:1", "").loc["exit_1", "difference"], 30 - 90)

    def test_variants_go_with_their_own_baseline_or_the_only_one(self):
        write_result(self.root, "none", accuracies=(0.5, 0.5))
        write_result(self.root, "ipkd", name="long", accuracies=(0.7, 0.7), epochs=8)
        (one,) = self.compare(mix=True)
        self.assertAlmostEqual(one.of("ipkd", "epochs=8").loc["exit_1", "difference"], 20)
        write_result(self.root, "none", name="long_none", accuracies=(0.6, 0.6), epochs=8)
        (one,) = self.compare(mix=True)
        self.assertAlmostEqual(one.of("ipkd", "epochs=8").loc["exit_1", "difference"], 10)

    def test_the_paper_stands_beside_the_full_network_only(self):
        names = tuple(paper.accuracies("msdnet", "cifar10").index[:-1])
        for model, submodels in (("msdnet", names), ("msdnet_small", names[:4])):
            values = [0.9] * len(submodels)
            settings = {"model": model, "dataset": "cifar10", "submodels": submodels}
            write_result(self.root, "none", accuracies=values, name=model, **settings)
            write_result(self.root, "ipkd", accuracies=values, name=f"{model}_ipkd", **settings)
        full, small = self.compare()
        self.assertEqual(full.of("ipkd", "").loc["exit_7", "paper"], 93.69)
        self.assertAlmostEqual(full.of("ipkd", "").loc["exit_7", "paper_difference"], 0.42)
        self.assertTrue(math.isnan(full.of("none", "").loc["exit_7", "paper_difference"]))
        self.assertTrue(small.cells["paper"].isna().all())


if __name__ == "__main__":
    absltest.main()
