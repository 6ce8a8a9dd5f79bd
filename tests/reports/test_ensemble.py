"""Ensembles against the mean worked out apart, and the program from runs to files."""

import csv
import functools
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.models import cost
from ipkd_tf.reports import ensemble
from ipkd_tf.tools import ensemble as program
from ipkd_tf.training import finished_run
from tests.models.two_exits import TwoExits
from tests.tools.test_programs import run_program
from tests.training.test_finished_run import write_run


@functools.cache
def networks():
    keras.utils.set_random_seed(0)
    return TwoExits(image_size=8), TwoExits(image_size=8)


class EnsembleTest(tf.test.TestCase):
    def test_outputs_are_means_of_probabilities_and_cost_what_all_cost(self):
        images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype("uint8")
        both = ensemble.combine(networks())
        one, other = (tf.nn.softmax(network(images)[-1]).numpy() for network in networks())
        first, second = (tf.nn.softmax(logits) for logits in both(images))
        self.assertAllClose(first, one, 1e-5)
        self.assertAllClose(second, (one + other) / 2, 1e-5)
        single = cost.of_submodel(networks()[0], "late")
        self.assertEqual(cost.of_submodel(both, 0), single)
        self.assertEqual(cost.of_submodel(both, 1), {k: 2 * v for k, v in single.items()})

    def test_from_runs_to_table_and_picture(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        for name, network in zip(("a", "b"), networks(), strict=True):
            (root / name).mkdir()
            write_run(root / name, network)
        result = json.loads((root / "b" / "result.json").read_text())
        for row in (*result["best"], *result["last"]):
            row |= {"top_5_accuracy": 1.0, "loss": 0.5}
        result["best"][-1]["multiply_adds"] -= 1  # b is cheaper, so first
        (root / "b" / "result.json").write_text(json.dumps({**result, "name": "small"}))
        runs = [str(root / name) for name in "ab"]
        arguments = (*runs, f"--against={root / 'b'}", f"--output={root / 'out'}")
        status, out, err = run_program(program, *arguments)
        self.assertEqual((status or 0, err), (0, ""))
        self.assertIn("+ toy", out)
        with open(root / "out" / "ensemble.csv") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row["name"] for row in rows], ["small", "+ toy", "early", "late"])
        splits = finished_run.open_run(root / "a").splits.test
        probabilities = sum(tf.nn.softmax(n(splits.images())[-1]).numpy() for n in networks())
        expected = np.mean(probabilities.argmax(-1) == splits.labels)
        self.assertAllClose(float(rows[1]["accuracy"]), expected)
        self.assertTrue((root / "out" / "ensemble.png").is_file())

        (root / "b" / "result.json").write_text(json.dumps({**result, "data_digest": "x"}))
        status, _, err = run_program(program, *arguments)
        self.assertEqual(status, 1)
        self.assertRegex(err, "data are not those.*Received: digest=")
        status, _, err = run_program(program)
        self.assertRegex(err, "Expected finished runs")


if __name__ == "__main__":
    tf.test.main()
