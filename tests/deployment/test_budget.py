"""Budgets as users write them, and the sub-model they choose."""

from absl.testing import parameterized

from ipkd_tf.deployment.budget import Budget, amount, choose
from ipkd_tf.models import cost

ROWS = [
    {"name": "small", "accuracy": 0.80, "multiply_adds": 10_000_000},
    {"name": "middle", "accuracy": 0.90, "multiply_adds": 20_000_000},
    {"name": "worse", "accuracy": 0.85, "multiply_adds": 25_000_000},
    {"name": "equal", "accuracy": 0.90, "multiply_adds": 30_000_000},
]


class BudgetTest(parameterized.TestCase):
    @parameterized.parameters(
        ("20M", "multiply_adds", 20e6),
        ("1.5G", "multiply_adds", 1.5e9),
        ("300", "multiply_adds", 300),
        ("500kB", "bytes", 500e3),
        ("2MiB", "bytes", 2 * 1024**2),
        ("5ms", "milliseconds", 5),
        (" .5 s ", "milliseconds", 500),
        ("800us", "milliseconds", 0.8),
        ("500k parameters", "parameters", 500e3),
        ("2Gbit_operations", "bit_operations", 2e9),
        ("7 multiply_adds", "multiply_adds", 7),
    )
    def test_parses(self, text, quantity, limit):
        budget = Budget.parse(text)
        self.assertEqual(budget.quantity, quantity)
        self.assertAlmostEqual(budget.limit, limit)

    @parameterized.parameters("", "M", "20m", "-3M", "0M", "5 seconds", "1e6", "20M20")
    def test_refuses(self, text):
        with self.assertRaisesRegex(ValueError, "such as 20M.*Received: budget="):
            Budget.parse(text)

    @parameterized.parameters(
        ("10M", "small"), ("24M", "middle"), ("29M", "middle"), ("1G", "middle")
    )
    def test_chooses_the_most_accurate_and_of_equals_the_cheapest(self, text, name):
        self.assertEqual(choose(ROWS, Budget.parse(text))["name"], name)

    def test_names_the_nearest_that_does_not_fit(self):
        with self.assertRaisesRegex(ValueError, "nearest is small with 10M multiply-adds.*'9.9M'"):
            choose(ROWS, Budget.parse("9.9M"))

    def test_every_cost_of_a_network_can_be_limited(self):
        for one in cost.COSTS:
            self.assertEqual(
                Budget.parse(f"3M {one.name}"), Budget(one.name, 3e6, f"3M {one.name}")
            )

    def test_a_cost_that_is_not_known_is_named(self):
        with self.assertRaisesRegex(ValueError, "name, accuracy, multiply_adds. Received: budget="):
            choose(ROWS, Budget.parse("500kB"))

    @parameterized.parameters(
        (13_200_000, "multiply_adds", "13.2M multiply-adds"),
        (999, "bytes", "999 B"),
        (1_680_000, "bytes", "1.68 MB"),
        (0.0421, "milliseconds", "0.0421 ms"),
        (2_500_000_000, "bit_operations", "2.5G bit-operations"),
    )
    def test_amounts_read_well(self, value, quantity, text):
        self.assertEqual(amount(value, quantity), text)
