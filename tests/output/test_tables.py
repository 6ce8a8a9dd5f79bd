"""Tables character by character."""

import pandas as pd
from absl.testing import absltest

from ipkd_tf.output import tables

COLUMNS = [("name", "name", "{}"), ("accuracy %", "share", tables.percent), ("n", "n", "{:,}")]
ROWS = [{"name": "a", "share": 0.5, "n": 12345}, {"name": "long", "share": 0.25, "n": None}]


class TextTest(absltest.TestCase):
    def test_texts_left_numbers_right_missing_as_a_dash(self):
        lines = tables.text(ROWS, COLUMNS).splitlines()
        self.assertEqual(lines[0], "name      accuracy %       n")
        self.assertEqual(lines[1], "a              50.00  12,345")
        self.assertEqual(lines[2], "long           25.00       -")

    def test_markdown_style(self):
        lines = tables.text(ROWS, COLUMNS, "pipe").splitlines()
        self.assertEqual(lines[1], "|:-------|-------------:|-------:|")
        self.assertEqual(lines[3], "| long   |        25.00 |      - |")


class FrameTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        frame = pd.DataFrame({"a|b": ["**1.00 ± 0.50**", "-2.00 [-3.00, +1.00]"]}, ["x_1", "y-2"])
        self.frame = frame.rename_axis("sub-model")

    def test_markdown(self):
        lines = tables.markdown(self.frame, "A note.").splitlines()
        self.assertEqual(lines[0], "| sub-model   |                 a\\|b |")
        self.assertEqual(lines[2], "| x_1         |      **1.00 ± 0.50** |")
        self.assertEqual(lines[-2:], ["", "A note."])

    def test_latex(self):
        made = tables.latex(self.frame, "95 % of #1† in 1e-3.", "tab:one")
        self.assertIn("x\\_1 & \\textbf{1.00 $\\pm$ 0.50} \\\\\n", made)
        self.assertIn("y-2 & $-$2.00 [$-$3.00, +1.00] \\\\\n", made)
        self.assertIn("\\caption{95 \\% of \\#1$^\\dagger$ in 1e-3.}\n\\label{tab:one}", made)
        self.assertIn("\\centering\n\\begin{tabular}{lr}\n\\toprule\n & a|b \\\\\n", made)

    def test_every_special_sign_is_escaped_in_latex(self):
        frame = pd.DataFrame({"h": ["~^\\{}$&"]}, ["i"])
        expected = "\\textasciitilde{}\\textasciicircum{}\\textbackslash{}\\{\\}\\$\\&"
        self.assertIn(f"i & {expected} \\\\", tables.latex(frame, "", "tab:x"))


if __name__ == "__main__":
    absltest.main()
