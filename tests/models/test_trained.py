"""Trained networks of the package: whole, as good as their cards say, found by every program."""

import json
import pathlib
import shutil
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from ipkd_tf import data, models
from ipkd_tf.models import cost, trained
from ipkd_tf.tools import classify, evaluate, export, pack
from ipkd_tf.training import evaluation
from ipkd_tf.training.initialization import initialize_from
from tests.tools.test_programs import run_program
from tests.training.test_finished_run import write_run


class TrainedTest(parameterized.TestCase):
    @parameterized.parameters(*trained.names())
    def test_network_and_card_are_of_one_run(self, name):
        directory = trained.find(name)
        result = json.loads((directory / "result.json").read_text())
        card = (directory / "README.md").read_text()
        self.assertLess((directory / "best.keras").stat().st_size, 2_000_000)
        self.assertIn(result["file"]["sha256"], card)
        self.assertIn("Licence of the weights: ", card)
        self.assertIn(f"python -m ipkd_tf train --model={result['settings']['model']} ", card)
        network = models.from_preset(name)
        self.assertLen(result["class_names"], network.outputs[0].shape[-1])
        for row in result["best"]:
            costs = cost.of_submodel(network, row["name"])
            self.assertEqual({**row, **costs}, row)
            self.assertRegex(card, rf"(?m)^\| {row['name']} +\| +{100 * row['accuracy']:.2f} ")

    def test_digits_are_recognised_as_the_card_says(self):
        digits = data.read("digits", image_size=16)
        network = models.from_preset("msdnet_small_digits")
        rows = evaluation.evaluate(network, data.evaluation(digits.test, batch_size=360))
        expected = json.loads((trained.find("msdnet_small_digits") / "result.json").read_text())
        for row, there in zip(rows, expected["best"], strict=True):
            # One of 360 images may fall to the other side on another machine.
            self.assertAlmostEqual(row["accuracy"], there["accuracy"], delta=1.5 / 360)

    def test_programs_take_it_by_name(self):
        directory = pathlib.Path(tempfile.mkdtemp())
        status, out, err = run_program(evaluate, "--preset=msdnet_small_digits")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("msdnet_small_digits, best epoch: scores on 360 test images", out)
        status, out, err = run_program(
            *(export, "--preset=msdnet_small_digits", "--submodel=exit_1", "--format=keras"),
            f"--output={directory}",
        )
        self.assertEqual((status, err), (0, ""))
        self.assertTrue((directory / "model.keras").is_file())
        digits = data.read("digits", image_size=16).test
        Image.fromarray(digits.images([0])[0]).save(directory / "digit.png")
        image = str(directory / "digit.png")
        status, _, err = run_program(classify, "--preset=msdnet_small", image)
        self.assertEqual((status, err.count("\n")), (1, 1))
        self.assertIn("one of hne_", err)
        status, out, err = run_program(classify, "--preset=msdnet_small_digits", "--top=1", image)
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, rf"digit.png: {digits.labels[0]} \d+\.\d %")
        for program, more in ((evaluate, ()), (classify, (image,))):
            status, _, err = run_program(program, *more)
            self.assertEqual(status, 1)
            self.assertIn("Expected either a", err)

    def test_weights_to_start_from(self):
        network = models.from_preset("msdnet_small", image_size=32, num_classes=3)
        fresh = initialize_from(network, "preset:msdnet_small_digits", dataset="folder:flowers")
        self.assertEqual(fresh, [f"exit_{number}_logits" for number in range(1, 5)])
        there = models.from_preset("msdnet_small_digits").get_layer("stem_scale_1")
        np.testing.assert_array_equal(network.get_layer("stem_scale_1").kernel, there.kernel)

    def test_what_is_not_there(self):
        with self.assertRaisesRegex(ValueError, "one of hne_.*, msdnet_.*Received: preset='x'"):
            trained.find("x")
        with self.assertRaisesRegex(ValueError, "no arguments.*num_classes"):
            models.from_preset("msdnet_small_digits", num_classes=3)
        copy = pathlib.Path(tempfile.mkdtemp())
        shutil.copytree(trained.find("hne_resnet_small_cifar10"), copy / "net")
        with (copy / "net" / "best.keras").open("r+b") as file:
            file.seek(1000)
            file.write(b"damage")
        with mock.patch.object(trained, "DIRECTORY", copy):
            with self.assertRaisesRegex(ValueError, "damaged.*install ipkd_tf again"):
                models.from_preset("net")


class PackTest(absltest.TestCase):
    def test_a_run_becomes_a_trained_network(self):
        directory = pathlib.Path(tempfile.mkdtemp())
        (directory / "run").mkdir()
        network = write_run(directory / "run")
        path = directory / "run" / "result.json"
        more = {"seconds": {"training": 61.2}, "best_epoch": 2}
        path.write_text(json.dumps(json.loads(path.read_text()) | more))
        arguments = [f"--run={directory / 'run'}", f"--output={directory / 'nets'}"]
        status, out, err = run_program(pack, *arguments, "--name=toy_digits", "--licence=MIT")
        self.assertEqual((status, err), (0, ""))
        with mock.patch.object(trained, "DIRECTORY", directory / "nets"):
            self.assertEqual(trained.names(), ["toy_digits"])
            packed = models.from_preset("toy_digits")
        for weight, value in zip(packed.weights, network.weights, strict=True):
            np.testing.assert_array_equal(weight, value)
        self.assertIn("| late        |        90.00 |        1,570 |          12,000 |", out)
        self.assertIn("Licence of the weights: MIT.", out)
        self.assertIn("--batch_size=32", out)
        result = (directory / "nets" / "toy_digits" / "result.json").read_text()
        self.assertNotIn(str(directory), result)
        self.assertIn("small letters", run_program(pack, *arguments, "--name=../x")[2])
        with mock.patch.object(pack, "_LARGEST", 1000):
            status, _, err = run_program(pack, *arguments, "--name=large")
        self.assertIn("at most 1,000 bytes", err)
        self.assertFalse((directory / "nets" / "large").exists())
