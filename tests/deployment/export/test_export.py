"""Sub-models written in every format and read back by the format's own runtime."""

import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import zipfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import data, models
from ipkd_tf.deployment import export
from ipkd_tf.deployment.export import converters, formats, serving, writing
from ipkd_tf.models import cost, flexible
from tests.deployment.export import networks
from tests.models.two_exits import TwoExits

SLIMMABLE, MSDNET = "slimmable_mobilenet_v1_small", "msdnet_small"
# The lines that an export prints; any other package of ours would have to be on the device.
RUN_WITHOUT_THE_PACKAGE = """if True:
    import sys, json, numpy as np
    images, usages = np.load(sys.argv[1]), json.loads(sys.argv[2])
    results = {}
    for format, usage in usages.items():
        names = {"images": images}
        exec(usage, names)
        results[format] = np.array(names["outputs"]["logits"]).tolist()
        if format in ("litert", "onnx"):
            assert "tensorflow" not in sys.modules
    assert "ipkd_tf" not in sys.modules
    print(json.dumps(results))
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
            "width_0.5",
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

    def test_the_printed_lines_run_the_files_without_this_package(self):
        images = pathlib.Path(self.create_tempdir().full_path, "images.npy")
        np.save(images, self.images)
        # TensorFlow last: the others have to do without.
        order = ("litert", "onnx", "keras", "saved_model")
        text = writing.describe(self.manifest, self.directory, order)
        usages = dict.fromkeys(order, "")
        for line in text.splitlines():
            if "bytes" in line and not line.startswith(" "):
                path = pathlib.Path(line.partition(":")[0]).name
                (format,) = [name for name in order if export.FORMATS[name].file == path]
            elif line.startswith("    "):
                usages[format] += line[4:] + "\n"
        self.assertEqual({usage.count("\n") for usage in usages.values()}, {3})
        script = [sys.executable, "-c", RUN_WITHOUT_THE_PACKAGE, str(images), json.dumps(usages)]
        done = subprocess.run(script, capture_output=True, text=True, cwd="/", timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        results = json.loads(done.stdout.splitlines()[-1])
        self.assertCountEqual(results, order)
        for logits in results.values():
            self.assertAllClose(logits, self.logits, rtol=1e-4, atol=1e-4)

    def test_a_saved_model_has_a_default_signature(self):
        signatures = tf.saved_model.load(str(self.directory / "saved_model")).signatures
        self.assertEqual(set(signatures), {"serving_default", "width_0.5"})

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
        self.assertEqual(
            written["input"]["content"], "RGB in 0..255, normalised by the model itself"
        )
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
            self.assertLess(check["probability_difference"], 1e-5)

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

    @parameterized.parameters("onnx", "onnx_int8")
    def test_the_first_dimension_of_an_onnx_file_is_called_batch(self, format):
        import onnx

        graph = onnx.load(self.directory / export.FORMATS[format].file).graph
        first = [value.type.tensor_type.shape.dim[0] for value in [*graph.input, *graph.output]]
        self.assertEqual({dimension.dim_param for dimension in first}, {"batch"})

    def test_a_directory_is_opened_by_its_manifest(self):
        model = export.open_model(self.directory)
        outputs = model(self.images, model.largest)
        self.assertAllClose(outputs["logits"], self.logits, rtol=0, atol=1e-4)


class AllTest(tf.test.TestCase, parameterized.TestCase):
    """All sub-models in one file."""

    @parameterized.parameters(SLIMMABLE, MSDNET)
    def test_one_signature_for_each_over_shared_weights(self, family):
        network, images = networks.network(family), networks.images()
        directory = pathlib.Path(self.create_tempdir().full_path)
        export.export_submodel(network, "all", directory, ["saved_model", "litert"], images=images)
        for file in ("saved_model", "model.tflite"):
            model = export.open_model(directory / file)
            self.assertCountEqual(model.signatures, network.submodel_names)
            for name, logits in zip(network.submodel_names, network(images), strict=True):
                self.assertAllClose(model(images, name)["logits"], logits, rtol=1e-4, atol=1e-4)
            largest = model(images, model.largest)["logits"]
            self.assertAllClose(largest, network(images)[-1], rtol=1e-4, atol=1e-4)
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
            export.export_submodel(networks.network(SLIMMABLE), "all", "nowhere", [format])


def _head(x, name, units=2):
    return keras.layers.Dense(units, name=name)(keras.layers.Flatten()(x))


class OwnNetworkTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)

    def test_a_family_in_one_file(self):
        network = TwoExits(num_classes=4, image_size=12)
        images = networks.images(4, side=12)
        late = flexible.Submodel("late")
        export.export_submodel(network, late, self.directory, ["litert"], images=images)
        model = export.open_model(self.directory / "model.tflite")
        self.assertEqual(model.signatures, ("late",))
        self.assertAllClose(model(images, "late")["logits"], network(images)[1], atol=1e-4)

    def test_a_plain_grey_model_whose_names_are_not_in_the_order_of_their_sizes(self):
        image = keras.Input([8, 8, 1])
        x = keras.layers.Rescaling(1 / 255)(image)
        small, large = _head(x, "small"), _head(keras.layers.Conv2D(4, 3)(x), "large")
        network = keras.Model(image, [small, large])
        formats = ["saved_model", "litert"]
        manifest = export.export_submodel(network, "all", self.directory, formats)
        self.assertEqual([row["name"] for row in manifest["submodels"]], ["small", "large"])
        self.assertEqual(manifest["submodels"][0]["parameters"], 8 * 8 * 2 + 2)
        self.assertStartsWith(manifest["input"]["content"], "grey in 0..255")
        # Alone, without its manifest: LiteRT lists signatures by the alphabet.
        alone = self.directory / "alone.tflite"
        os.replace(self.directory / "model.tflite", alone)
        model = export.open_model(alone)
        self.assertEqual((model.signatures, model.largest), (("large", "small"), "large"))

    @parameterized.parameters(
        ("onnx", {"activation": "gelu"}, "Erfc"),
        ("onnx_int8", {"groups": 3}, "StatefulPartitionedCall"),
    )
    def test_what_onnx_cannot_hold_is_named(self, format, settings, operation):
        image = keras.Input([8, 8, 3])
        network = keras.Model(image, [_head(keras.layers.Conv2D(6, 3, **settings)(image), "one")])
        images = networks.images(4, side=8)
        with self.assertRaisesRegex(ValueError, f"another format.*cannot convert {operation}"):
            export.export_submodel(
                network, 0, self.directory, [format], images=images, calibration_images=images
            )
        self.assertEmpty(os.listdir(self.directory))

    def test_attention_in_int8(self):
        image = keras.Input([8, 8, 3])
        x = keras.layers.Reshape((64, 3))(keras.layers.Rescaling(1 / 255)(image))
        network = keras.Model(image, [_head(keras.layers.MultiHeadAttention(1, 4)(x, x), "one")])
        images = networks.images(16, side=8)
        manifest = export.export_submodel(
            network, 0, self.directory, ["onnx_int8"], calibration_images=images
        )
        (check,) = manifest["formats"]["onnx_int8"]["checks"]
        self.assertGreaterEqual(check["equal_decisions"], 0.9)


class DirectoryTest(tf.test.TestCase):
    """What an export does to a directory that holds something already."""

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)

    def _network(self, bias):
        image = keras.Input([2, 2, 3])
        network = keras.Model(image, [_head(image, "one")])
        network.layers[-1].bias.assign([bias, 0.0])
        return network

    def _export(self, network, formats, **settings):
        return export.export_submodel(network, 0, self.directory, formats, **settings)

    def test_what_no_export_wrote_is_left_alone(self):
        foreign = self.directory / "saved_model" / "notes.txt"
        foreign.parent.mkdir()
        foreign.write_text("mine")
        (self.directory / "model.keras").write_text("mine, too")
        network = self._network(0.0)
        for format, name in (("saved_model", "saved_model/notes.txt"), ("keras", "model.keras")):
            with self.assertRaisesRegex(ValueError, f"move away {name}.*Received: path="):
                self._export(network, [format], overwrite=True)
        self.assertEqual(foreign.read_text(), "mine")
        self.assertCountEqual(os.listdir(self.directory), ["saved_model", "model.keras"])
        foreign.unlink()
        self._export(network, ["saved_model"])
        foreign.write_text("added later")
        with self.assertRaisesRegex(ValueError, "move away saved_model/notes.txt"):
            self._export(network, ["saved_model"])
        self.assertEqual(foreign.read_text(), "added later")

    def test_another_network_is_replaced_only_when_asked_for(self):
        (self.directory / "notes.txt").write_text("mine")
        self._export(self._network(1.0), ["keras", "saved_model"])
        trained_further = self._network(2.0)
        with self.assertRaisesRegex(ValueError, "overwrite=True"):
            self._export(trained_further, ["keras"])
        document = self._export(trained_further, ["keras"], overwrite=True)
        self.assertEqual(list(document["formats"]), ["keras"])
        # A file of the other network would not be of what the manifest says.
        self.assertCountEqual(
            os.listdir(self.directory), ["notes.txt", "model.keras", "manifest.json"]
        )
        self.assertEqual(json.loads((self.directory / "manifest.json").read_text()), document)

    def test_two_exports_at_once_lose_nothing(self):
        network, failures = self._network(0.0), []

        def run(format):
            try:
                self._export(network, [format])
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=(name,)) for name in ("saved_model", "keras")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEmpty(failures)
        written = json.loads((self.directory / "manifest.json").read_text())
        self.assertCountEqual(written["formats"], ["saved_model", "keras"])

    def test_without_images_int8_is_compared_on_the_calibration_images(self):
        calibration = networks.images(8, side=2)
        document = self._export(self._network(0.0), ["litert_int8"], calibration_images=calibration)
        (check,) = document["formats"]["litert_int8"]["checks"]
        self.assertEqual(check["images"], 8)
        self.assertNotIn("accuracy", check)

    def test_a_large_split_is_read_batch_by_batch(self):
        images = networks.images(150, side=2)
        part = data.Examples(images, np.zeros(150, np.int32))
        with mock.patch.object(part, "read", wraps=part.read) as read:
            document = self._export(self._network(0.0), ["keras"], images=part, labels=part.labels)
        sizes = [len(range(150)[call.args[0]]) for call in read.call_args_list]
        self.assertEqual(sizes, 2 * [64, 64, 22])  # by the network and by the file
        (check,) = document["formats"]["keras"]["checks"]
        self.assertEqual((check["images"], check["equal_decisions"]), (150, 1.0))

    def test_tolerances_are_of_each_format(self):
        images = networks.images(8, side=2)
        document = self._export(
            self._network(0.0),
            ["litert_int8", "litert"],
            calibration_images=images,
            tolerance=export.Tolerance(agreement=0.5),
        )
        tolerances = {name: entry["tolerance"] for name, entry in document["formats"].items()}
        self.assertEqual(tolerances["litert_int8"], {"difference": 1.0, "agreement": 0.5})
        self.assertEqual(tolerances["litert"], {"difference": 1e-4, "agreement": 0.5})

    def test_a_damaged_manifest(self):
        (self.directory / "manifest.json").write_text("{")
        with self.assertRaisesRegex(ValueError, "manifest is damaged.*Received: path="):
            self._export(self._network(0.0), ["keras"])


class ErrorsTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)
        self.network = networks.network(SLIMMABLE)

    def test_an_unknown_format(self):
        with self.assertRaisesRegex(
            ValueError, "one of saved_model, keras.*Received: format='tflite'"
        ):
            export.export_submodel(self.network, 0, self.directory, ["tflite"])

    def test_an_unknown_submodel(self):
        with self.assertRaisesRegex(IndexError, "width_0.5, width_1.0.*Received: submodel=2"):
            export.export_submodel(self.network, 2, self.directory)
        with self.assertRaisesRegex(ValueError, "width_0.5, width_1.0.*Received: submodel='exit'"):
            export.export_submodel(self.network, "exit", self.directory)

    def test_int8_needs_calibration_images(self):
        with self.assertRaisesRegex(ValueError, "training images as calibration_images"):
            export.export_submodel(self.network, 0, self.directory, ["litert_int8"])
        white = np.full((8, 16, 16, 3), 255, np.uint8)
        with self.assertRaisesRegex(ValueError, "images that differ.*Received: equal_images=8"):
            export.export_submodel(
                self.network, 0, self.directory, ["litert_int8"], calibration_images=white
            )

    def test_no_images_to_compare_on(self):
        with self.assertRaisesRegex(ValueError, "at least one image"):
            export.export_submodel(self.network, 0, self.directory, images=networks.images(0))

    def test_missing_packages_are_named_with_the_pip_command(self):
        with mock.patch("importlib.util.find_spec", return_value=None):
            with self.assertRaisesRegex(ValueError, r"pip install 'ipkd_tf\[export\]'.*tf2onnx"):
                export.export_submodel(self.network, 0, self.directory, ["onnx"])
        self.assertEmpty(os.listdir(self.directory))

    def test_a_file_outside_its_tolerance_is_not_kept(self):
        def wrong(serving_models, path, calibration_images):
            broken = keras.models.clone_model(self.network.submodel(0))  # other weights
            serving.serving_model(broken).save(path)

        with mock.patch.object(converters, "write_keras", wrong):
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
        with self.assertRaisesRegex(
            ValueError, "not exported by ipkd_tf.*has to be exported first.*outputs="
        ):
            export.open_model(self.directory / "other.keras")

    def test_a_stranger_s_file_imports_nothing(self):
        stranger = pathlib.Path(self.create_tempdir().full_path)
        payload = "import pathlib; pathlib.Path(__file__).with_name('ran').touch(); Net = object"
        (stranger / "strangers_module.py").write_text(payload)
        path = stranger / "model.keras"
        keras.Sequential([keras.Input([2]), keras.layers.Dense(1)]).save(path)
        with zipfile.ZipFile(path) as source:
            parts = {name: source.read(name) for name in source.namelist()}
        config = json.loads(parts["config.json"])
        config.update(module="strangers_module", class_name="Net", registered_name=None)
        parts["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(path, "w") as target:
            for name, part in parts.items():
                target.writestr(name, part)
        with mock.patch.object(sys, "path", [str(stranger), *sys.path]):
            with self.assertRaisesRegex(ValueError, "damaged or was not exported"):
                export.open_model(path)
        self.assertFalse((stranger / "ran").exists())

    @parameterized.parameters("missing.tflite", "model.h5")
    def test_no_such_file(self, name):
        (self.directory / "model.h5").write_bytes(b"")
        with self.assertRaisesRegex(ValueError, "Expected a .keras, .tflite, .onnx or .npz file"):
            export.open_model(self.directory / name)


class FullSizeTest(tf.test.TestCase):
    def test_the_file_is_as_large_as_the_references_parameters(self):
        directory = pathlib.Path(self.create_tempdir().full_path)
        network = models.from_preset("slimmable_mobilenet_v1", widths=(0.25,))
        export.export_submodel(network, 0, directory, ["litert"])
        # Folding leaves one bias for each scale and offset; the graph takes some kilobytes.
        self.assertBetween(_bytes(directory, "litert"), 0.98 * 4 * 215_642, 1.03 * 4 * 215_642)


class FormatsTest(tf.test.TestCase):
    def test_names_and_budgets_need_no_tensorflow(self):
        code = """if True:
            import sys
            from ipkd_tf.deployment import budget
            from ipkd_tf.deployment.export import formats, readers
            assert "saved_model" in formats.FORMATS
            print("tensorflow" in sys.modules, "keras" in sys.modules)
        """
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(done.stdout.strip(), "False False", done.stderr)

    def test_a_tolerance_that_was_not_asked_for_is_the_format_s_own(self):
        own = formats.FORMATS["onnx_int8"].tolerance
        self.assertEqual(export.Tolerance().of("onnx_int8"), own)
        self.assertEqual(
            export.Tolerance(difference=0.5).of("onnx_int8"),
            dataclasses.replace(own, difference=0.5),
        )
