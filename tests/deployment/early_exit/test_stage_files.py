"""One file per stage and the runner that chains them, against simulated early exit."""

import functools
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.deployment.early_exit import runner, simulation, stage_files
from tests.deployment.early_exit import small

IMAGES = small.IMAGES
TEMPERATURES = (2.0, 1.0, 0.5)
# With the runner beside the files, and nothing else of ours, nor TensorFlow.
RUN_ALONE = """if True:
    import json, sys, numpy as np
    sys.path.insert(0, sys.argv[1])
    from runner import StageRunner
    result = StageRunner(sys.argv[1])(np.load(sys.argv[2]))
    assert not {"ipkd_tf", "tensorflow"} & set(sys.modules)
    print(json.dumps({name: value.tolist() for name, value in result.items()}))
"""


@functools.cache
def case(family, format):
    """Probabilities, their largest, thresholds, and the directory of the files."""
    network = small.network(family)
    probabilities = small.probabilities(network, TEMPERATURES)
    confidence = probabilities.max(-1)
    policy = {
        "thresholds": small.thresholds(confidence, (0.5, 0.5)),
        "confidence": "probability",
        "temperatures": TEMPERATURES,
    }
    directory = pathlib.Path(tempfile.mkdtemp(), format)
    names = network.submodel_names
    stage_files.write_stages(network, names, policy, directory, format, {"budget": "2M"})
    return probabilities, confidence, policy["thresholds"], directory


class StageFilesTest(tf.test.TestCase, parameterized.TestCase):
    def check(self, result, probabilities, exits):
        expected = probabilities[exits, np.arange(len(exits))]
        self.assertAllEqual(result["exit"], exits)
        self.assertAllClose(result["probabilities"], expected, rtol=0, atol=1e-5)
        self.assertAllEqual(result["class_id"], expected.argmax(-1))

    @parameterized.parameters(
        ("msdnet_small", "litert"),
        ("msdnet_small", "onnx"),
        ("slimmable_mobilenet_v1_small", "onnx"),
    )
    def test_each_image_leaves_where_simulated(self, family, format):
        probabilities, confidence, thresholds, directory = case(family, format)
        run = runner.StageRunner(directory, threads=1)
        exits = simulation.leave(confidence, thresholds)
        self.assertLen(set(exits), 3)
        self.check(run(IMAGES), probabilities, exits)
        for index in range(4):
            result = run(IMAGES[index : index + 1])
            self.check(result, probabilities[:, index : index + 1], exits[index : index + 1])
        for limits, exit in (((0.0, 0.0), 0), ((2.0, 0.0), 1), ((2.0, 2.0), 2)):
            self.check(run(IMAGES, limits), probabilities, np.full(len(IMAGES), exit))
        none = run(IMAGES[:0])
        self.assertEqual(none["probabilities"].shape, (0, 3))
        self.assertEqual((none["exit"].shape, none["class_id"].shape), ((0,), (0,)))

    @parameterized.parameters(*stage_files.FORMATS)
    def test_a_directory_runs_alone(self, format):
        probabilities, confidence, thresholds, directory = case(small.FAMILIES[0], format)
        images = pathlib.Path(tempfile.mkdtemp(), "images.npy")
        np.save(images, IMAGES)
        command = [sys.executable, "-c", RUN_ALONE, str(directory), str(images)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.mkdtemp())
        self.assertEqual(done.returncode, 0, done.stderr)
        exits = simulation.leave(confidence, thresholds)
        self.check(json.loads(done.stdout), probabilities, exits)

    def test_manifest(self):
        *_, thresholds, directory = case(small.FAMILIES[0], "litert")
        manifest = json.loads((directory / "manifest.json").read_text())
        self.assertEqual(manifest["submodels"], ["exit_1", "exit_2", "exit_3"])
        self.assertEqual((manifest["budget"], manifest["classes"]), ("2M", 3))
        first, second, third = manifest["stages"]
        self.assertEqual(first["reads"], ["image"])
        self.assertEqual(first["keeps"], second["reads"])
        self.assertEqual([first["threshold"], second["threshold"]], thresholds)
        self.assertIsNone(third["threshold"])
        self.assertEqual([stage["temperature"] for stage in manifest["stages"]], [2.0, 1.0, 0.5])

    def test_a_skipped_exit_has_no_file(self):
        network = small.network(small.FAMILIES[1])
        probabilities = small.probabilities(network)
        confidence = probabilities.max(-1)
        (threshold, _) = small.thresholds(confidence, (0.5, 0.5))
        policy = {"confidence": "probability", "temperatures": (1.0,) * 3}
        policy["thresholds"] = (threshold, simulation.SKIP)
        directory = pathlib.Path(tempfile.mkdtemp(), "onnx")
        stage_files.write_stages(network, network.submodel_names, policy, directory, "onnx")
        self.assertCountEqual(
            (path.name for path in directory.iterdir()),
            ["manifest.json", "runner.py", "width_0.5.onnx", "width_1.0.onnx"],
        )
        result = runner.StageRunner(directory)(IMAGES)
        self.check(result, probabilities, simulation.leave(confidence, policy["thresholds"]))

    def test_what_makes_no_sense_is_refused(self):
        network = small.network(small.FAMILIES[0])
        with self.assertRaisesRegex(ValueError, "litert, onnx. Received: format='tf'"):
            stage_files.write_stages(network, network.submodel_names, {}, "nowhere", "tf")
        *_, directory = case(small.FAMILIES[0], "litert")
        with self.assertRaisesRegex(ValueError, "Expected 2 thresholds.*Received: thresholds="):
            runner.StageRunner(directory)(IMAGES, [0.5])
