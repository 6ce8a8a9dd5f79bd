"""The table of one run, character by character, and its figures."""

import pathlib

from absl.testing import absltest
from PIL import Image

from ipkd_tf.training import summary

ROWS = [
    {
        "name": "exit_1",
        "accuracy": 0.5,
        "top_5_accuracy": 0.75,
        "loss": 1.5,
        "parameters": 1200,
        "multiply_adds": 1_500_000,
    },
    {
        "name": "exit_2",
        "accuracy": 0.75,
        "top_5_accuracy": 1.0,
        "loss": 0.5,
        "parameters": 34_000,
        "multiply_adds": 20_000_000,
    },
]
RESULT = {
    "name": "small",
    "seed": 3,
    "best_epoch": 1,
    "last_epoch": 2,
    "best": ROWS,
    "last": [{**row, "accuracy": 0.6} for row in ROWS],
}
HISTORY = [
    {
        "epoch": epoch,
        "learning_rate": 0.1,
        "loss": 3.0 / epoch,
        "hard_loss": 1.0 / epoch,
        "soft_loss": 2.0 / epoch,
        "val_avg_accuracy": 0.3 * epoch,
        "val_exit_1_accuracy": 0.2 * epoch,
        "val_exit_2_accuracy": 0.4 * epoch,
    }
    for epoch in (1, 2)
]
TABLE = """\
small, seed 3: test scores of the best epoch, 1 of 2
sub-model      accuracy %    top-5 %    loss    parameters    multiply-adds
exit_1              50.00      75.00  1.5000         1,200        1,500,000
exit_2              75.00     100.00  0.5000        34,000       20,000,000
average             62.50      87.50  1.0000"""


class TableTest(absltest.TestCase):
    def test_table(self):
        self.assertEqual(summary.table(RESULT), TABLE)

    def test_the_calibration_error_is_shown_where_it_is_known(self):
        rows = [{**row, "calibration_error": row["loss"] / 10} for row in ROWS]
        lines = summary.score_table("ECE", rows).splitlines()
        self.assertRegex(lines[1], r"loss +ECE % +parameters")
        self.assertEqual(lines[2].split()[4:6], ["15.00", "1,200"])
        self.assertEqual(lines[-1].split()[-1], "10.00")

    def test_further_costs_are_columns(self):
        rows = [{**row, "bit_operations": 4096} for row in ROWS]
        lines = summary.score_table("bits", rows).splitlines()
        self.assertTrue(lines[1].endswith("multiply-adds    bit operations"))
        self.assertEqual(lines[2].split()[-2:], ["1,500,000", "4,096"])
        self.assertEqual(lines[-1].split(), TABLE.splitlines()[-1].split())


class FiguresTest(absltest.TestCase):
    def test_both_are_images_of_a_readable_size(self):
        directory = pathlib.Path(self.create_tempdir().full_path)
        summary.draw(RESULT, HISTORY, directory)
        sizes = {}
        self.assertLen(list(directory.glob("*.pdf")), 2)
        for path in directory.glob("*.png"):
            with Image.open(path) as image:
                sizes[path.name] = image.size
        self.assertEqual(
            sizes,
            {"training_curve.png": (1800, 675), "accuracy_multiply_adds.png": (900, 675)},
        )

    def test_names_that_read_as_tex(self):
        tex = {**RESULT, "name": "a$x_y_z$"}
        summary.draw(tex, HISTORY, self.create_tempdir().full_path)  # not a parse error

    def test_curves_show_the_history_in_percent(self):
        accuracy, loss = summary._training_curve(RESULT, HISTORY).axes
        lines = {line.get_label(): list(line.get_ydata()) for line in accuracy.lines}
        self.assertSequenceAlmostEqual(lines["exit_1"], [20, 40])
        self.assertSequenceAlmostEqual(lines["exit_2"], [40, 80])
        self.assertSequenceAlmostEqual(lines["average"], [30, 60])
        lines = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
        self.assertSequenceAlmostEqual(lines["soft (teachers)"], [2, 1])

    def test_points_are_millions_of_multiply_adds_and_percent(self):
        (axes,) = summary._accuracy_over_multiply_adds(RESULT).axes
        best, last = axes.lines
        self.assertSequenceAlmostEqual(best.get_xdata(), [1.5, 20])
        self.assertSequenceAlmostEqual(best.get_ydata(), [50, 75])
        self.assertSequenceAlmostEqual(last.get_ydata(), [60, 60])


if __name__ == "__main__":
    absltest.main()
