"""The paper's tables: rows against the averages that it prints."""

from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.reports import paper

TABLES = [
    (model, dataset)
    for model in ("msdnet", "slimmable_mobilenet_v1")
    for dataset in ("cifar10", "cifar100")
]


class PaperTest(parameterized.TestCase):
    @parameterized.parameters(*TABLES)
    def test_rows_have_the_averages_that_the_paper_prints(self, model, dataset):
        table = paper.accuracies(model, dataset)
        for method in table:
            # The paper averaged before it rounded, and cut one of them off.
            self.assertLess(abs(table[method][:-1].mean() - table[method]["average"]), 0.0101)

    @parameterized.parameters("msdnet", "slimmable_mobilenet_v1")
    def test_rows_are_the_networks_submodels(self, model):
        names = models.from_preset(model, num_classes=10).submodel_names
        self.assertEqual([*paper.accuracies(model, "cifar10").index[:-1]], [*names])

    def test_wider_is_better_contrary_to_the_labels_of_table_2(self):
        table = paper.accuracies("slimmable_mobilenet_v1", "cifar100")
        self.assertEqual(table.loc["width_0.25", "none"], 54.98)
        self.assertTrue(table.iloc[:-1].apply(lambda column: column.is_monotonic_increasing).all())

    def test_none_for_other_networks_and_data(self):
        self.assertIsNone(paper.accuracies("msdnet_small", "cifar10"))
        self.assertIsNone(paper.accuracies("msdnet", "digits"))

    def test_differences(self):
        table = paper.accuracies("msdnet", "cifar100")
        self.assertAlmostEqual(paper.differences(table, "none").loc["exit_7", "ipkd_ta_m"], 0.73)
        self.assertEmpty(paper.differences(table, "0:6").columns)
