"""Files of early exit, run without the package, against simulated early exit."""

import functools
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.deployment.early_exit import EarlyExitClassifier, runner, writing
from ipkd_tf.deployment.early_exit import thresholds as fitting
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
    thresholds = small.thresholds(confidence, (0.5, 0.5))
    classify = EarlyExitClassifier(network, thresholds, temperatures=TEMPERATURES)
    directory = pathlib.Path(tempfile.mkdtemp(), format)
    exits = fitting.leave(confidence, thresholds)
    share = writing.export(classify, directory, format, IMAGES, exits, {"budget": "2M"})
    assert share == 1.0
    return probabilities, confidence, thresholds, directory


# Anything of ours would have to be installed where the file runs.
RUN_WITHOUT_THE_PACKAGE = """if True:
    import json, sys, numpy as np, tensorflow as tf
    sys.modules["ipkd_tf"] = None
    signatures = tf.saved_model.load(sys.argv[1]).signatures
    images = tf.constant(np.load(sys.argv[2]))
    thresholds = json.loads(sys.argv[3])
    results = [
        signatures["serving_default"](image=images),
        signatures["with_thresholds"](image=images, thresholds=tf.constant(thresholds)),
        signatures["serving_default"](image=images[:0]),
    ]
    print(json.dumps([{k: v.numpy().tolist() for k, v in one.items()} for one in results]))
"""


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
        exits = fitting.leave(confidence, thresholds)
        self.assertLen(set(exits), 3)
        self.check(run(IMAGES), probabilities, exits)
        for index in range(4):
            result = run(IMAGES[index : index + 1])
            self.check(result, probabilities[:, index : index + 1], exits[index : index + 1])
        for limits, exit in (((0.0, 0.0), 0), ((2.0, 0.0), 1), ((2.0, 2.0), 2)):
            result = run(IMAGES, limits)
            self.check(result, probabilities, np.full(len(IMAGES), exit))
        self.check(run(IMAGES), probabilities, exits)
        self.check(result, probabilities, np.full(len(IMAGES), 2))  # the caller's own
        none = run(IMAGES[:0])
        self.assertEqual(none["probabilities"].shape, (0, 3))
        self.assertEqual((none["exit"].shape, none["class_id"].shape), ((0,), (0,)))

    def test_an_error_that_is_held_on_to_does_not_stand_in_the_way(self):
        probabilities, confidence, thresholds, directory = case(small.FAMILIES[0], "litert")
        run = runner.StageRunner(directory, threads=1)
        working, run._run[2] = run._run[2], lambda tensors: 1 / 0
        try:
            run(IMAGES, [2.0, 2.0])
        except ZeroDivisionError as error:
            held = error  # `assertRaises` would clear the frames, and with them what they refer to
        run._run[2] = working
        self.check(run(IMAGES), probabilities, fitting.leave(confidence, thresholds))
        self.assertTrue(held.__traceback__)

    @parameterized.parameters("litert", "onnx")
    def test_a_directory_runs_alone(self, format):
        probabilities, confidence, thresholds, directory = case(small.FAMILIES[0], format)
        images = pathlib.Path(tempfile.mkdtemp(), "images.npy")
        np.save(images, IMAGES)
        command = [sys.executable, "-c", RUN_ALONE, str(directory), str(images)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.mkdtemp())
        self.assertEqual(done.returncode, 0, done.stderr)
        exits = fitting.leave(confidence, thresholds)
        self.check(json.loads(done.stdout), probabilities, exits)

    def test_manifest(self):
        *_, thresholds, directory = case(small.FAMILIES[0], "litert")
        manifest = json.loads((directory / "manifest.json").read_text())
        names, limits, temperatures = zip(*map(dict.values, manifest["submodels"]), strict=True)
        self.assertEqual(names, ("exit_1", "exit_2", "exit_3"))
        self.assertEqual((limits, temperatures), ((*thresholds, None), TEMPERATURES))
        self.assertEqual((manifest["budget"], manifest["classes"]), ("2M", 3))
        first, second, third = manifest["stages"]
        self.assertEqual(first["reads"], ["image"])
        self.assertEqual(first["keeps"], second["reads"])
        self.assertEqual([first["threshold"], second["threshold"]], thresholds)
        self.assertIsNone(third["threshold"])

    def test_a_skipped_exit_has_no_file(self):
        network = small.network(small.FAMILIES[1])
        probabilities = small.probabilities(network)
        confidence = probabilities.max(-1)
        (threshold, _) = small.thresholds(confidence, (0.5, 0.5))
        thresholds = (threshold, fitting.SKIP)
        directory = pathlib.Path(tempfile.mkdtemp(), "onnx")
        writing.export(EarlyExitClassifier(network, thresholds), directory, "onnx")
        self.assertCountEqual(
            (path.name for path in directory.iterdir()),
            ["manifest.json", "runner.py", "width_0.5.onnx", "width_1.0.onnx"],
        )
        result = runner.StageRunner(directory)(IMAGES)
        self.check(result, probabilities, fitting.leave(confidence, thresholds))

    def test_what_makes_no_sense_is_refused(self):
        with self.assertRaisesRegex(ValueError, "litert, onnx. Received: format='tf'"):
            writing.export(small.classifier(), "nowhere", "tf")
        *_, directory = case(small.FAMILIES[0], "litert")
        with self.assertRaisesRegex(ValueError, "Expected 2 thresholds.*Received: thresholds="):
            runner.StageRunner(directory)(IMAGES, [0.5])
        # LiteRT would answer: it repeats the one channel.
        for images in (IMAGES[..., :1], IMAGES[:, :8], IMAGES.astype(np.float32)):
            with self.assertRaisesRegex(ValueError, "images uint8 .*16, 16, 3].*Received: images"):
                runner.StageRunner(directory)(images)

    def test_a_file_that_decides_otherwise_is_not_kept(self):
        path = pathlib.Path(tempfile.mkdtemp(), "saved_model")
        wrong = (small.classifier()(IMAGES)["exit"] + 1) % 3
        with self.assertRaisesRegex(ValueError, "Only 0.00%.*Received: format='saved_model'"):
            writing.export(small.classifier(), path, "saved_model", IMAGES, wrong)
        self.assertFalse(path.exists())

    def test_what_no_export_wrote_is_left_alone(self):
        path = pathlib.Path(tempfile.mkdtemp(), "saved_model")
        for _ in range(2):  # An export of its own is replaced.
            writing.export(small.classifier(), path)
        foreign = pathlib.Path(tempfile.mkdtemp(), "notes.txt")
        (foreign.parent / "manifest.json").write_text("{}")
        for notes in (path / "notes.txt", foreign):
            notes.write_text("keep")
            for place in (notes.parent, notes):
                with self.assertRaisesRegex(ValueError, "notes.txt. Received: path="):
                    writing.export(small.classifier(), place)
            self.assertEqual(notes.read_text(), "keep")


class SavedModelTest(tf.test.TestCase):
    def test_it_runs_without_the_package_for_every_budget(self):
        network = small.network("slimmable_mobilenet_v1_small")
        probabilities = small.probabilities(network)
        confidence = probabilities.max(-1)
        choices = [small.thresholds(confidence, q) for q in ((0.5, 0.5), (0.9, 0.3))]
        directory = pathlib.Path(tempfile.mkdtemp())
        writing.export(EarlyExitClassifier(network, choices[0]), directory / "saved_model")
        np.save(directory / "images.npy", IMAGES)
        arguments = [directory / "saved_model", directory / "images.npy", json.dumps(choices[1])]
        done = subprocess.run(
            [sys.executable, "-c", RUN_WITHOUT_THE_PACKAGE, *map(str, arguments)],
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        *results, none = json.loads(done.stdout)
        self.assertEqual(none, {"class_id": [], "probabilities": [], "exit": []})
        for result, thresholds in zip(results, choices, strict=True):
            exits = fitting.leave(confidence, thresholds)
            expected = probabilities[exits, np.arange(len(exits))]
            self.assertAllEqual(result["exit"], exits)
            self.assertAllClose(result["probabilities"], expected, rtol=0, atol=1e-5)
            self.assertAllEqual(result["class_id"], expected.argmax(-1))

    def test_weights_are_stored_once(self):
        directory = pathlib.Path(tempfile.mkdtemp())
        writing.export(small.classifier(), directory / "saved_model")
        size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
        weights = sum(4 * int(np.prod(one.shape)) for one in small.network("msdnet_small").weights)
        self.assertBetween(size, 0.9 * weights, 1.5 * weights)

    def test_a_classifier_that_follows_its_network_can_be_saved(self):
        path = pathlib.Path(tempfile.mkdtemp(), "saved_model")
        classify = small.classifier(copy=False)
        exits = classify(IMAGES)["exit"]
        self.assertEqual(writing.export(classify, path, images=IMAGES, exits=exits), 1.0)
