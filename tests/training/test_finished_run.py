"""A run's directory opened again."""

import dataclasses
import json
import pathlib

import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.training import finished_run
from ipkd_tf.training.experiment import Experiment
from tests.deployment.export import networks
from tests.models.two_exits import TwoExits


def write_run(directory, network=None, **settings):
    """Writes what a finished run on digits leaves behind, of a network of 2 sub-models."""
    network = network or TwoExits(image_size=8)
    settings = {"dataset": "digits", "image_size": 8, "batch_size": 32, **settings}
    experiment = Experiment(model="tests.models.two_exits:TwoExits", **settings)
    rows = [
        {"name": name, "accuracy": accuracy, "parameters": parameters, "multiply_adds": cost}
        for name, accuracy, parameters, cost in (
            ("early", 0.7, 338, 3000),
            ("late", 0.9, 1570, 12000),
        )
    ]
    result = {"name": "toy", "seed": 0, "best": rows, "last": rows[::1]}
    result["settings"] = dataclasses.asdict(experiment)
    directory = pathlib.Path(directory)
    network.save(directory / "best.keras")
    (directory / "result.json").write_text(json.dumps(result))
    return network


class FinishedRunTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)

    def test_network_rows_and_data(self):
        network = write_run(self.directory)
        run = finished_run.open_run(self.directory)
        self.assertEqual(run.names, ["early", "late"])
        self.assertEqual(run.index("late"), 1)
        images = networks.images(4, side=8)
        self.assertAllClose(run.network(images)[1], network(images)[1])
        self.assertEqual(run.splits.dataset.name, "digits")
        self.assertLen(run.splits.test, 360)

    def test_data_dir_and_settings_of_another_version(self):
        write_run(self.directory)
        path = self.directory / "result.json"
        result = json.loads(path.read_text())
        result["settings"]["a_setting_of_the_future"] = 1
        path.write_text(json.dumps(result))
        run = finished_run.open_run(self.directory, data_dir="elsewhere")
        self.assertEqual(run.experiment.data_dir, "elsewhere")

    def test_an_unknown_submodel(self):
        write_run(self.directory)
        with self.assertRaisesRegex(ValueError, "from early, late. Received: submodel='exit_9'"):
            finished_run.open_run(self.directory).index("exit_9")

    def test_a_run_that_is_not_finished(self):
        write_run(self.directory)
        path = self.directory / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "state": "running"}))
        with self.assertRaisesRegex(ValueError, "this one is running.*Received: run="):
            finished_run.open_run(self.directory)

    def test_no_run(self):
        with self.assertRaisesRegex(ValueError, "directory of a finished run.*Received: run="):
            finished_run.open_run(self.directory)

    @parameterized.parameters("{", "[]", '{"settings": {}}')
    def test_a_damaged_result(self, text):
        (self.directory / "result.json").write_text(text)
        with self.assertRaisesRegex(ValueError, "result.json is damaged.*Received: run="):
            finished_run.open_run(self.directory)

    def test_another_epoch(self):
        with self.assertRaisesRegex(ValueError, "best, last. Received: which='first'"):
            finished_run.open_run(self.directory, "first")
        write_run(self.directory)
        with self.assertRaisesRegex(ValueError, "Received: path=.*last.keras"):
            _ = finished_run.open_run(self.directory, "last").network
