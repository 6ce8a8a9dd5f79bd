"""A run's directory opened again."""

import dataclasses
import json
import pathlib
import sys
import zipfile
from unittest import mock

import keras
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.models import flexible, precision
from ipkd_tf.training import finished_run, splits
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
    data = splits.read_splits(experiment).identity()
    result = {"state": "finished", "name": "toy", "seed": 0, "best": rows, "last": rows[::1]}
    result |= {"examples": data, "data_digest": data.pop("digest")}
    result["settings"] = dataclasses.asdict(experiment)
    directory = pathlib.Path(directory)
    network.save(directory / "best.keras")
    (directory / "result.json").write_text(json.dumps(result))
    return network


def _replace_in_archive(path, member, old, new):
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents[member] = contents[member].replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


class FinishedRunTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)

    def test_network_rows_and_data(self):
        network = write_run(self.directory)
        run = finished_run.open_run(self.directory)
        self.assertEqual(run.names, ["early", "late"])
        self.assertEqual(flexible.find(run.network, "late"), 1)
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

    def test_data_that_changed(self):
        write_run(self.directory)
        path = self.directory / "result.json"
        result = json.loads(path.read_text())
        result["examples"]["test"] += 1
        path.write_text(json.dumps(result))
        with self.assertRaisesRegex(ValueError, "not those the run was .*test=360 .361 there"):
            _ = finished_run.open_run(self.directory).splits
        result["examples"]["test"] -= 1
        path.write_text(json.dumps({**result, "data_digest": "another"}))
        with self.assertRaisesRegex(ValueError, r"Received: digest=\w+ .another there"):
            _ = finished_run.open_run(self.directory).splits

    def test_nothing_is_imported_that_a_file_names(self):
        write_run(self.directory)
        (self.directory / "payload.py").write_text("raise SystemExit('ran')")
        for name in ("result.json", "best.keras"):
            path = self.directory / name
            with mock.patch.object(sys, "path", [str(self.directory), *sys.path]):
                if name == "result.json":
                    result = json.loads(path.read_text())
                    result["settings"]["model"] = "payload:X"
                    path.write_text(json.dumps(result))
                else:
                    _replace_in_archive(path, "config.json", b"tests.models.two_exits", b"payload")
                    _replace_in_archive(path, "config.json", b"tests>TwoExits", b"payload>TwoExits")
                    with self.assertRaisesRegex(ValueError, "family="):
                        _ = finished_run.open_run(self.directory).network
                    continue
                # Its class is known here, so that the file opens, whatever result.json says.
                self.assertLen(finished_run.open_run(self.directory).network.outputs, 2)
        self.assertNotIn("payload", sys.modules)

    def test_a_family_is_imported_that_the_caller_names(self):
        write_run(self.directory)
        with self.assertRaisesRegex(
            ValueError, "no_such_module.*Received: model='no_such_module:X'"
        ):
            _ = finished_run.open_run(self.directory, model="no_such_module:X").network
        run = finished_run.open_run(self.directory, model="tests.models.two_exits:TwoExits")
        self.assertLen(run.network.outputs, 2)

    def test_precision(self):
        write_run(self.directory, precision="mixed_bfloat16")
        run = finished_run.open_run(self.directory)
        self.assertEqual(run.network.get_layer("conv_1").compute_dtype, "float32")
        for has_gpu, expected in ((True, "bfloat16"), (False, "float32")):
            with mock.patch.multiple(
                precision,
                _has_accelerator=lambda has_gpu=has_gpu: has_gpu,
                _cpu_has_bfloat16=lambda: True,
            ):
                policy = run.load(run.experiment.precision).get_layer("conv_1").dtype_policy
            self.assertEqual(policy.compute_dtype, expected)
            self.assertEqual(isinstance(policy, precision.Bfloat16Products), not has_gpu)
        self.assertEqual(keras.config.dtype_policy().name, "float32")

    def test_an_unknown_submodel(self):
        write_run(self.directory)
        with self.assertRaisesRegex(ValueError, ": early, late. Received: submodel='exit_9'"):
            flexible.find(finished_run.open_run(self.directory).network, "exit_9")

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
        with self.assertRaisesRegex(ValueError, "best, last. Received: epoch='first'"):
            finished_run.open_run(self.directory, "first")
        write_run(self.directory)
        with self.assertRaisesRegex(ValueError, "Received: path=.*last.keras"):
            _ = finished_run.open_run(self.directory, "last").network
