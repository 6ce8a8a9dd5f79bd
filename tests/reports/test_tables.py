"""Tables and notes, character by character."""

import pathlib
import textwrap

from absl.testing import absltest

from ipkd_tf.reports import comparison, paper, runs, tables
from tests.reports.results import write_result


def compare(root, which="best", mix=False):
    """The only comparison of the runs below a directory."""
    rows, _ = runs.gather([root])
    (one,) = comparison.compare(runs.label_variants(rows[rows["which"] == which], mix))
    return one


class TablesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def write_both_methods(self):
        for seed, (none, ipkd) in enumerate(((0.5, 0.52), (0.6, 0.64))):
            write_result(self.root, "none", seed, (none, 0.8))
            write_result(self.root, "ipkd", seed, (ipkd, 0.8))
        write_result(self.root, "0:1", 0, (0.55, 0.79), name="own")

    def test_accuracies(self):
        self.write_both_methods()
        expected = """\
        | sub-model   |   No distillation |             IPKD |   0:1† |
        |:------------|------------------:|-----------------:|-------:|
        | exit_1      |      55.00 ± 7.07 | **58.00 ± 8.49** |  55.00 |
        | exit_2      |  **80.00 ± 0.00** | **80.00 ± 0.00** |  79.00 |
        | average     |      67.50 ± 3.54 | **69.00 ± 4.24** |  67.00 |

        Accuracy in % on 10,000 test images, best epoch of 4 (chosen on 100 held-out images); mean \
± standard deviation over seeds 0, 1; best of each row in bold; † one seed (0), so the spread is \
unknown."""
        made = tables.accuracies(compare(self.root)).markdown()
        self.assertEqual(made, textwrap.dedent(expected))

    def test_differences(self):
        self.write_both_methods()
        # Of 2 and 4: mean 3, standard error 1, and t(0.975, 1) = 12.7062.
        expected = """\
        | sub-model   |                  IPKD |   0:1† |
        |:------------|----------------------:|-------:|
        | exit_1      | +3.00 [-9.71, +15.71] |  +5.00 |
        | exit_2      | +0.00 [+0.00, +0.00]‡ |  -1.00 |
        | average     |  +1.50 [-4.85, +7.85] |  +2.00 |

        Difference to no distillation in points of accuracy, each run against that of its seed; \
mean of 2 pairs [95% confidence interval, Student's t]; ‡ the pairs are equal, so the interval \
says nothing; † one pair, so no interval."""
        made = tables.differences(compare(self.root)).markdown()
        self.assertEqual(made, textwrap.dedent(expected))

    def test_latex(self):
        write_result(self.root, "none", accuracies=(0.5, 0.6))
        write_result(self.root, "ipkd", accuracies=(0.6, 0.5))
        made = tables.accuracies(compare(self.root)).latex("tab:toy")
        self.assertIn(
            "\\begin{tabular}{lrr}\n\\toprule\n & No distillation$^\\dagger$ & IPKD$", made
        )
        self.assertIn("exit\\_1 & 50.00 & \\textbf{60.00} \\\\\n", made)
        self.assertIn("\\caption{Accuracy in \\% on", made)
        self.assertIn("\\label{tab:toy}", made)

    def test_latex_of_differences_has_minus_signs(self):
        write_result(self.root, "none", accuracies=(0.5, 0.6))
        write_result(self.root, "ipkd", accuracies=(0.4, 0.6))
        made = tables.differences(compare(self.root)).latex("tab:toy")
        self.assertIn("exit\\_1 & $-$10.00 \\\\\n", made)

    def test_a_setting_that_is_latex_is_escaped(self):
        write_result(self.root, "ipkd", name="a", initialize_from="~/a_b^c")
        write_result(self.root, "ipkd", name="b")
        made = tables.accuracies(compare(self.root, mix=True)).latex("tab:toy")
        expected = "initialize\\_from=\\textasciitilde{}/a\\_b\\textasciicircum{}c"
        self.assertIn(expected, made)

    def test_one_method_is_not_the_best_and_has_no_differences(self):
        write_result(self.root, "none", validation="test")
        one = compare(self.root)
        made = tables.accuracies(one).markdown()
        self.assertNotIn("**", made)
        self.assertIn("best epoch of 4 (chosen on the test images)", made)
        self.assertIsNone(tables.differences(one))

    def test_the_last_epoch_was_not_chosen(self):
        write_result(self.root, "none")
        made = tables.accuracies(compare(self.root, "last")).markdown()
        self.assertIn("| exit_1      |              40.00 |", made)
        self.assertIn("last epoch of 4; †", made)

    def test_equal_to_the_eye_is_equally_bold(self):
        write_result(self.root, "none", accuracies=(0.500049, 0.91085))
        write_result(self.root, "ipkd", accuracies=(0.5, 0.9))
        made = tables.accuracies(compare(self.root)).markdown()
        self.assertRegex(made, r"exit_1 +\| +\*\*50.00\*\* \| +\*\*50.00\*\* \|")
        self.assertRegex(made, r"exit_2 +\| +\*\*91.0[89]\*\* \| +90.00 \|")

    def test_different_seeds_are_told(self):
        for method, seeds in (("none", (0, 1)), ("ipkd", (1, 2, 4))):
            for seed in seeds:
                write_result(self.root, method, seed)
        note = tables.accuracies(compare(self.root)).note
        self.assertIn("over seeds 0, 1 (IPKD: 1, 2, 4);", note)

    def test_mixed_runs_have_columns_of_their_own(self):
        write_result(self.root, "ipkd", name="long", epochs=8)
        write_result(self.root, "ipkd", name="short", epochs=2, submodels=("exit_1", "exit_3"))
        made = tables.accuracies(compare(self.root, mix=True)).markdown()
        self.assertRegex(made, r"\| sub-model +\| +IPKD, epochs=2† \| +IPKD, epochs=8† \|")
        self.assertRegex(made, r"\| exit_3 +\| +\*\*75.00\*\* \| +\|\n")
        self.assertIn("best epoch of 2 or 8", made)

    def test_the_papers_figures_of_the_full_network(self):
        self.write_slimmable("slimmable_mobilenet_v1")
        one = compare(self.root)
        self.assertRegex(
            tables.accuracies(one).markdown(),
            r"\| width_0.25 +\| +90.00 \(86.04\) \| +\*\*91.00\*\* \(86.36\) \|",
        )
        self.assertIn("the paper's full network after 200 epochs", tables.accuracies(one).note)
        made = tables.differences(one).markdown()
        self.assertRegex(made, r"\| average +\| \+1.00 \(\+0.33\) \|\n\nDiff")

    def test_the_papers_differences_for_a_reduced_network(self):
        self.write_slimmable("slimmable_mobilenet_v1_small")
        one = compare(self.root)
        self.assertRegex(tables.accuracies(one).markdown(), r"\| width_0.25 +\| +90.00 \|")
        made = tables.differences(one).markdown()
        self.assertRegex(made, r"\| average, paper's slimmable_mobilenet_v1 +\| +\+0.33 \|\n\nDiff")

    def write_slimmable(self, model):
        names = tuple(paper.accuracies("slimmable_mobilenet_v1", "cifar10").index[:-1])
        for method, accuracy in (("none", 0.9), ("ipkd_ta_m", 0.91)):
            settings = {"model": model, "dataset": "cifar10", "submodels": names}
            write_result(self.root, method, accuracies=[accuracy] * 4, **settings)


if __name__ == "__main__":
    absltest.main()
