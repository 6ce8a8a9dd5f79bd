"""Sub-models written in every format and read back by the format's own runtime."""

import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.deployment import export
from ipkd_tf.deployment.export import formats, optional, serving
from ipkd_tf.models import cost
from tests.deployment.export import networks
from tests.models.two_exits import TwoExits

SLIMMABLE, MSDNET = "slimmable_mobilenet_v1_small", "msdnet_small"
# Any other package of ours would have to be installed on the device.
READ_WITHOUT_THE_PACKAGE = """if True:
    import sys, json, pathlib, numpy as np
    directory, images = pathlib.Path(sys.argv[1]), np.load(sys.argv[2])
    from ai_edge_litert.interpreter import Interpreter
    runner = Interpreter(str(directory / "model.tflite")).get_signature_runner("width_0.5")
    results = {"litert": runner(image=images)}
    import onnxruntime
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"))
    names = [output.name for output in session.get_outputs()]
    results["onnx"] = dict(zip(names, session.run(None, {"image": images})))
    assert "tensorflow" not in sys.modules
    import tensorflow as tf, keras
    signatures = tf.saved_model.load(str(directory / "saved_model")).signatures
    assert set(signatures) == {"serving_default", "width_0.5"}
    results["saved_model"] = signatures["serving_default"](image=tf.constant(images))
    results["keras"] = keras.models.load_model(directory / "model.keras")(images)
    assert "ipkd_tf" not in sys.modules
    print(json.dumps({name: np.array(r["logits"]).tolist() for name, r in results.items()}))
"""


def _bytes(directory, format):
    return json.loads((directory / "manifest.json").read_text())["formats"][format]["bytes"]


class SubmodelTest(tf.test.TestCase, parameterized.TestCase):
    """One sub-model, written once in every format."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory = pathlib.Path(tempfile.mkdtemp(), "width_0.5")
        cls.network = networks.network(SLIMMABLE)
        cls.images = networks.images(32)
        cls.logits = cls.network(cls.images)[0].numpy()
        cls.manifest = export.export_submodel(
            cls.network,
            0,
            cls.directory,
            list(export.FORMATS),
            images=cls.images,
            labels=cls.logits.argmax(-1),
            calibration_images=networks.images(64)[32:],
            class_names=("a", "b", "c"),
            run={"name": "test"},
        )

    @parameterized.parameters(*export.FORMATS)
    def test_a_file_computes_what_the_network_computes(self, format):
        model = export.open_model(self.directory / export.FORMATS[format].file, threads=1)
        self.assertEqual(model.image_shape, (16, 16, 3))
        (signature,) = model.signatures
        limit = {"litert_float16": 2e-2, "litert_int8": 0.5, "onnx_int8": 0.5}.get(format, 1e-4)
        for batch in (1, 5):
            outputs = model(self.images[:batch], signature)
            self.assertAllClose(outputs["logits"], self.logits[:batch], rtol=0, atol=limit)
            self.assertEqual(outputs["class_id"].shape, (batch,))
            self.assertAllClose(outputs["probabilities"].sum(-1), np.ones(batch), atol=0.02)

    def test_files_load_without_this_package(self):
        images = pathlib.Path(self.create_tempdir().full_path, "images.npy")
        np.save(images, self.images)
        script = [sys.executable, "-c", READ_WITHOUT_THE_PACKAGE, str(self.directory), str(images)]
        done = subprocess.run(script, capture_output=True, text=True, cwd="/", timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        for logits in json.loads(done.stdout.splitlines()[-1]).values():
            self.assertAllClose(logits, self.logits, rtol=1e-4, atol=1e-4)

    def test_manifest(self):
        written = json.loads((self.directory / "manifest.json").read_text())
        self.assertEqual(written, json.loads(json.dumps(self.manifest)))
        self.assertEqual(written["submodel"], "width_0.5")
        submodel = self.network.submodel(0)
        expected = {
            "name": "width_0.5",
            "parameters": cost.parameters(submodel),
            "multiply_adds": cost.multiply_adds(submodel),
        }
        self.assertEqual(written["submodels"], [expected])
        self.assertEqual(written["class_names"], ["a", "b", "c"])
        self.assertEqual(written["input"]["shape"], [None, 16, 16, 3])
        self.assertEqual(written["outputs"]["logits"]["shape"], [None, 3])
        self.assertEqual(written["run"], {"name": "test"})
        self.assertCountEqual(written["formats"], export.FORMATS)

    def test_digests_and_bytes_are_those_of_the_files(self):
        for entry in self.manifest["formats"].values():
            for name, file in entry["files"].items():
                content = (self.directory / name).read_bytes()
                self.assertEqual(file["bytes"], len(content))
                self.assertEqual(file["sha256"], hashlib.sha256(content).hexdigest())

    def test_float_files_decide_as_the_network(self):
        for format in ("saved_model", "keras", "litert", "onnx"):
            (check,) = self.manifest["formats"][format]["checks"]
            self.assertEqual(check["images"], 32)
            self.assertEqual(check["equal_decisions"], 1.0)
            self.assertEqual((check["accuracy"], check["network_accuracy"]), (1.0, 1.0))
            self.assertLess(check["largest_difference"], 1e-4)

    def test_sizes_follow_the_parameters(self):
        weights = cost.parameters(self.network.submodel(0))
        self.assertBetween(_bytes(self.directory, "litert"), 4 * weights * 0.9, 4 * weights + 2e4)
        self.assertBetween(_bytes(self.directory, "onnx"), 4 * weights * 0.9, 4 * weights + 2e4)
        self.assertLess(
            _bytes(self.directory, "litert_float16"), 0.7 * _bytes(self.directory, "litert")
        )
        self.assertLess(
            _bytes(self.directory, "litert_int8"), 0.6 * _bytes(self.directory, "litert")
        )
        self.assertLess(_bytes(self.directory, "onnx_int8"), 0.9 * _bytes(self.directory, "onnx"))

    def test_no_partial_files_remain(self):
        files = {format.file for format in export.FORMATS.values()}
        self.assertCountEqual(os.listdir(self.directory), files | {"manifest.json"})

    def test_a_directory_of_another_submodel_is_refused(self):
        with self.assertRaisesRegex(ValueError, "holds width_0.5 of another.*Received: directory="):
            export.export_submodel(self.network, 1, self.directory, ["keras"])
        self.assertEqual(json.loads((self.directory / "manifest.json").read_text()), self.manifest)


class AllTest(tf.test.TestCase, parameterized.TestCase):
    """All sub-models in one file."""

    @parameterized.parameters(SLIMMABLE, MSDNET)
    def test_one_signature_for_each_over_shared_weights(self, family):
        network, images = networks.network(family), networks.images()
        directory = pathlib.Path(self.create_tempdir().full_path)
        export.export_all(network, directory, ["saved_model", "litert"], images=images)
        for file in ("saved_model", "model.tflite"):
            model = export.open_model(directory / file)
            self.assertCountEqual(model.signatures, network.submodel_names)
            for name, logits in zip(network.submodel_names, network(images), strict=True):
                self.assertAllClose(model(images, name)["logits"], logits, rtol=1e-4, atol=1e-4)
        variables = directory / "saved_model" / "variables" / "variables.data-00000-of-00001"
        # The checkpoint adds the names of the variables.
        self.assertLess(variables.stat().st_size, networks.weight_bytes(network) + 2e4)
        default = tf.saved_model.load(str(directory / "saved_model")).signatures["serving_default"]
        self.assertAllClose(
            default(image=tf.constant(images))["logits"], network(images)[-1], rtol=1e-4, atol=1e-4
        )

    @parameterized.parameters("keras", "onnx", "onnx_int8")
    def test_formats_of_one_submodel_say_so(self, format):
        with self.assertRaisesRegex(
            ValueError, f"holds one sub-model.*Received: format='{format}'"
        ):
            export.export_all(networks.network(SLIMMABLE), "nowhere", [format])


class OwnNetworkTest(tf.test.TestCase):
    def test_a_family_in_one_file(self):
        network = TwoExits(num_classes=4, image_size=12)
        directory = pathlib.Path(self.create_tempdir().full_path)
        images = networks.images(4, side=12)
        export.export_submodel(network, -1, directory, ["litert"], images=images)
        model = export.open_model(directory / "model.tflite")
        self.assertEqual(model.signatures, ("late",))
        self.assertAllClose(model(images, "late")["logits"], network(images)[1], atol=1e-4)

    def test_a_plain_functional_model(self):
        image = keras.Input([8, 8, 3])
        x = keras.layers.Rescaling(1 / 255)(image)
        first = keras.layers.Dense(2, name="first")(keras.layers.Flatten()(x))
        second = keras.layers.Dense(2, name="second")(keras.layers.Flatten()(x))
        network = keras.Model(image, [first, second])
        directory = pathlib.Path(self.create_tempdir().full_path)
        manifest = export.export_all(network, directory, ["saved_model"])
        self.assertEqual([row["name"] for row in manifest["submodels"]], ["first", "second"])
        self.assertEqual(manifest["submodels"][0]["parameters"], 8 * 8 * 3 * 2 + 2)


class ErrorsTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)
        self.network = networks.network(SLIMMABLE)

    def test_an_unknown_format(self):
        with self.assertRaisesRegex(
            ValueError, "from saved_model, keras.*Received: format='tflite'"
        ):
            export.export_submodel(self.network, 0, self.directory, ["tflite"])

    def test_an_unknown_submodel(self):
        with self.assertRaisesRegex(IndexError, "width_0.5, width_1.0.*Received: submodel=2"):
            export.export_submodel(self.network, 2, self.directory)

    def test_int8_needs_calibration_images(self):
        with self.assertRaisesRegex(ValueError, "Training images are needed"):
            export.export_submodel(self.network, 0, self.directory, ["litert_int8"])

    def test_missing_packages_are_named_with_the_pip_command(self):
        with mock.patch.object(optional.importlib.util, "find_spec", return_value=None):
            with self.assertRaisesRegex(ValueError, r"pip install 'ipkd_tf\[export\]'.*tf2onnx"):
                export.export_submodel(self.network, 0, self.directory, ["onnx"])
        self.assertEmpty(os.listdir(self.directory))

    def test_a_file_outside_its_tolerance_is_not_kept(self):
        def wrong(serving_models, path, calibration_images):
            broken = keras.models.clone_model(self.network.submodel(0))  # other weights
            serving.serving_model(broken).save(path)

        broken = dataclasses.replace(export.FORMATS["keras"], write=wrong)
        with mock.patch.dict(formats.FORMATS, {"keras": broken}):
            with self.assertRaisesRegex(ValueError, "does not compute what the network computes"):
                export.export_submodel(self.network, 0, self.directory, ["keras"])
        self.assertEmpty(os.listdir(self.directory))

    @parameterized.parameters("model.keras", "model.tflite", "model.onnx")
    def test_damaged_files(self, name):
        path = self.directory / name
        path.write_bytes(b"not a model at all" * 100)
        with self.assertRaisesRegex(ValueError, "damaged or was not exported.*Received: path="):
            export.open_model(path)

    def test_a_directory_without_a_model(self):
        with self.assertRaisesRegex(ValueError, "damaged or was not exported.*Received: path="):
            export.open_model(self.directory)

    def test_another_keras_file(self):
        self.network.submodel(0).save(self.directory / "other.keras")
        with self.assertRaisesRegex(ValueError, "not exported by ipkd_tf .its outputs are"):
            export.open_model(self.directory / "other.keras")

    @parameterized.parameters("missing.tflite", "model.h5")
    def test_no_such_file(self, name):
        (self.directory / "model.h5").write_bytes(b"")
        with self.assertRaisesRegex(ValueError, "Expected a .keras, .tflite or .onnx file"):
            export.open_model(self.directory / name)

    def test_a_damaged_manifest(self):
        (self.directory / "manifest.json").write_text("{")
        with self.assertRaisesRegex(ValueError, "manifest is damaged.*Received: path="):
            export.export_submodel(self.network, 0, self.directory, ["keras"])


class FullSizeTest(tf.test.TestCase):
    def test_the_file_is_as_large_as_the_references_parameters(self):
        directory = pathlib.Path(self.create_tempdir().full_path)
        network = models.from_preset("slimmable_mobilenet_v1", widths=(0.25,))
        export.export_submodel(network, 0, directory, ["litert"])
        # Folding leaves one bias for each scale and offset; the graph takes some kilobytes.
        self.assertBetween(_bytes(directory, "litert"), 0.98 * 4 * 215_642, 1.03 * 4 * 215_642)
