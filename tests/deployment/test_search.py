"""Search among the sub-models of a network: accuracies, budgets, going on, Pareto curves."""

import os
import tempfile

import keras
import numpy as np
import optuna
import tensorflow as tf

from ipkd_tf import models
from ipkd_tf.deployment import search
from ipkd_tf.deployment.budget import Budget
from ipkd_tf.models import cost
from tests.models import two_exits

optuna.logging.set_verbosity(optuna.logging.WARNING)
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype("uint8")
LABELS = np.random.default_rng(0).integers(0, 3, 40)


class SearchTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        keras.utils.set_random_seed(0)
        cls.network = models.OFAMobileNetV3(
            num_classes=3,
            image_size=16,
            kernels=(3, 5),
            expansions=(2, 3),
            depths=(1, 2),
            stages=((16, 2, False, "relu"), (24, 2, True, "hard_silu")),
            head=(16, 16),
        )

    def candidates(self, budget="650k", **settings):
        return search.Candidates(
            self.network, [IMAGES], IMAGES, LABELS, Budget.parse(budget), **settings
        )

    def test_rows_are_what_the_submodels_reach_and_cost(self):
        rows = search.search(self.candidates(), trials=12)
        self.assertEqual([row["name"] for row in rows[:2]], ["k3_e2_d1", "k5_e3_d2"])
        self.assertLen({row["name"] for row in rows}, len(rows))
        self.assertGreater(len(rows), 6)
        for row in rows:
            costs = cost.of_submodel(self.network, row["name"])
            self.assertEqual(costs, {key: row[key] for key in costs})
            self.assertEqual("accuracy" in row, row["multiply_adds"] <= 650e3, row)
        within = [row for row in rows if "accuracy" in row]
        self.assertNotEmpty(within)
        self.assertLess(len(within), len(rows))
        row = within[-1]
        self.network.recalibrate(row["name"], [IMAGES])
        decisions = np.argmax(self.network.submodel(row["name"])(IMAGES), axis=1)
        self.assertAlmostEqual(row["accuracy"], np.mean(decisions == LABELS))

    def test_a_search_goes_on_where_it_stopped(self):
        journal = os.path.join(tempfile.mkdtemp(), "search", "journal.log")
        candidates, told = self.candidates(), []
        first = search.search(candidates, 5, journal=journal, tell=told.append)
        self.assertLen(told, 5)
        candidates.measure = lambda submodel: self.fail("measured again")
        self.assertEqual(search.search(candidates, 5, journal=journal), first)
        rows = search.search(self.candidates(), 9, journal=journal)
        self.assertEqual(rows[: len(first)], first)
        self.assertGreater(len(rows), len(first))
        # Another name is another search.
        other = search.search(self.candidates("700k"), 3, journal=journal, name="other")
        self.assertLen(other, 3)

    def test_a_budget_of_the_file(self):
        measured = []

        def measure_file(name):
            measured.append(name)
            return {"bytes": 100 * len(measured), "milliseconds": 1.0}

        rows = search.search(self.candidates("300B", measure_file=measure_file), 6)
        self.assertEqual([row["name"] for row in rows], measured)
        self.assertEqual(["accuracy" in row for row in rows[:4]], [True, True, True, False])

    def test_evolution_finds_what_is_best_within_the_budget(self):
        """Where accuracy is the number of large kernels, as many are found as the budget allows."""
        space = self.network._space
        for budget, most in {"1G": 4, "640k": 3}.items():
            candidates = self.candidates(budget)

            def measure(submodel, limit=candidates.budget.limit):
                kernels = [kernel for stage in submodel.choice[0] for kernel, _ in stage]
                adds = int(space.multiply_adds([space.row(submodel)])[0])
                row = {"name": submodel.name, "multiply_adds": adds}
                return row | ({"accuracy": kernels.count(5) / 4} if adds <= limit else {})

            candidates.measure = measure
            rows = search.search(candidates, 80)
            best = search.pareto(rows, "multiply_adds")
            self.assertEqual(best[0]["name"], "k3_e2_d1")
            self.assertEqual(best[-1]["accuracy"], most / 4, (budget, best))
            within = ["accuracy" in row for row in rows]
            half = len(within) // 2
            self.assertGreaterEqual(sum(within[half:]), sum(within[:half]))

    def test_other_families(self):
        us = models.from_preset(
            "us_mobilenet_v1_small", num_classes=3, image_size=16, widths=(0.25, 1.0)
        )
        self.assertLen(us.space()["width"], 76)
        self.assertEqual(us.compose({"width": 0.6}).name, "width_0.6")
        exits = two_exits.TwoExits(3, image_size=16)
        candidates = search.Candidates(exits, [], IMAGES, LABELS, Budget.parse("1G"))
        rows = search.search(candidates, 4)
        self.assertCountEqual([row["name"] for row in rows], exits.submodel_names)
        functional = keras.Model(exits.inputs, exits.outputs)
        candidates.network = functional
        with self.assertRaisesRegex(ValueError, "FlexibleNetwork.*Received: network="):
            search.search(candidates, 4)


class ParetoTest(tf.test.TestCase):
    ROWS = [
        {"name": "a", "accuracy": 0.5, "multiply_adds": 3},
        {"name": "b", "accuracy": 0.4, "multiply_adds": 1},
        {"name": "c", "accuracy": 0.4, "multiply_adds": 2},
        {"name": "d", "multiply_adds": 9},
        {"name": "e", "accuracy": 0.6, "multiply_adds": 3},
    ]

    def test_cheapest_first_and_each_more_accurate(self):
        kept = search.pareto(self.ROWS, "multiply_adds")
        self.assertEqual([row["name"] for row in kept], ["b", "e"])
        self.assertEqual(search.pareto([self.ROWS[3]], "multiply_adds"), [])

    def test_table_and_figure(self):
        text = search.table(search.pareto(self.ROWS, "multiply_adds"), "multiply_adds")
        self.assertEqual(text.splitlines()[1].split(), ["b", "40.00", "1"], text)
        path = os.path.join(self.get_temp_dir(), "search.png")
        search.draw(self.ROWS, self.ROWS[:1], Budget.parse("4M"), "some", path)
        self.assertGreater(os.path.getsize(path), 1000)


if __name__ == "__main__":
    tf.test.main()
