"""Files measured, and the table of them."""

import numpy as np
from absl.testing import parameterized

from ipkd_tf.deployment import budget, trade_off
from ipkd_tf.models import cost
from tests.deployment.export import networks
from tests.models.two_exits import TwoExits

ROW = {
    "name": "early",
    "format": "onnx",
    "accuracy": 0.9125,
    "multiply_adds": 3000,
    "parameters": 338,
    "bytes": 12_345,
    "milliseconds": 1.5,
    "p95_ms": 2.25,
    "largest_difference": 1.234e-6,
    "equal_decisions": 1.0,
}
LATE = {**ROW, "name": "late", "accuracy": 0.95, "bytes": 50_000, "milliseconds": 4.0}


class TradeOffTest(parameterized.TestCase):
    def test_the_table_is_markdown_with_aligned_columns(self):
        head, rule, first, _ = trade_off.table([ROW, LATE]).splitlines()
        self.assertEqual({len(head), len(rule), len(first)}, {len(head)})
        cells = [cell.strip() for cell in first.strip("|").split("|")]
        expected = ["early", "onnx", "91.25", "3,000", "338", "12,345", "1.500", "2.250", "1.2e-06"]
        self.assertEqual(cells, expected)

    def test_every_submodel_is_measured_in_every_format(self):
        network, images = TwoExits(num_classes=3, image_size=12), networks.images(8, side=12)
        labels = np.asarray(network(images)[0]).argmax(-1)
        conditions = trade_off.Conditions(batch_size=2, repeats=2)
        rows = trade_off.measure(network, images, labels, ["litert"], conditions)
        self.assertEqual(
            [(row["name"], row["format"]) for row in rows],
            [("early", "litert"), ("late", "litert")],
        )
        for row in rows:
            index = ("early", "late").index(row["name"])
            self.assertEqual(row["parameters"], cost.parameters(network.submodel(index)))
            self.assertBetween(row["milliseconds"], 0.0, row["p95_ms"])
        self.assertEqual(rows[0]["accuracy"], 1.0)
        # The early file is smaller and right.
        small = f"{rows[1]['bytes']}B"
        self.assertEqual(budget.choose(rows, budget.Budget.parse(small))["name"], "early")

    @parameterized.parameters({"batch_size": 0}, {"threads": -1}, {"repeats": 0})
    def test_conditions_that_make_no_sense(self, **setting):
        with self.assertRaisesRegex(ValueError, f"Received: {next(iter(setting))}="):
            trade_off.Conditions(**setting)
