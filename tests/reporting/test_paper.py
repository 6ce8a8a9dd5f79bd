"""The paper's tables against the averages that it prints itself."""

from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.reporting import paper

# The rows "Avg" of Tables I and II.
AVERAGES = {
    ("msdnet", "cifar10"): (92.39, 93.01, 92.63, 93.10),
    ("msdnet", "cifar100"): (71.00, 70.72, 71.26, 71.29),
    ("slimmable_mobilenet_v1", "cifar10"): (88.80, 89.24, 89.17, 89.13),
    ("slimmable_mobilenet_v1", "cifar100"): (60.42, 61.83, 61.37, 62.45),
}


class PaperTest(parameterized.TestCase):
    @parameterized.parameters(*AVERAGES)
    def test_averages_are_the_printed_ones(self, model, dataset):
        table = paper.accuracies(model, dataset)
        for mine, printed in zip(table.loc["average"], AVERAGES[model, dataset], strict=True):
            # Two of the printed averages are cut off instead of rounded.
            self.assertLess(abs(mine - printed), 0.0101)

    @parameterized.parameters("msdnet", "slimmable_mobilenet_v1")
    def test_rows_are_the_networks_submodels(self, model):
        names = models.build(model, num_classes=10).submodel_names
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
