"""Packed files: codes by hand, equal logits, sizes, one tensor for all precisions, damage."""

import json
import pathlib
import zipfile

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.deployment import export
from ipkd_tf.deployment.export import packed
from ipkd_tf.models import cost, quantized_layers
from tests.deployment.export import networks

BITS = (1, 3, 8, 32)


def _network(**arguments):
    """An untrained network of 4 precisions for 16 x 16 images of 3 classes."""
    settings = {"depth": 8, "channels": (8, 16, 32), "bits": BITS, **arguments}
    network = models.SPResNet(3, image_size=16, **settings)
    networks.shake(network)
    return network


def _codes(path):
    with np.load(path) as archive:
        return (
            len(archive["codes"]),
            len(archive["floats"]),
            json.loads(archive["header"].tobytes()),
        )


def _quantized_weights(network):
    kinds = quantized_layers.QuantizedConv2D
    return sum(layer.kernel.numpy().size for layer in network.layers if isinstance(layer, kinds))


class PackTest(tf.test.TestCase, parameterized.TestCase):
    def test_by_hand(self):
        self.assertEqual(packed.pack(np.array([3, 0, 1, 2], np.uint8), 2), bytes([0b11000110]))
        self.assertEqual(
            packed.pack(np.array([5, 2, 7], np.uint8), 3), bytes([0b10101011, 0b10000000])
        )

    @parameterized.parameters(*range(1, 9))
    def test_back_again(self, bits):
        codes = np.random.default_rng(0).integers(0, 2**bits, 37).astype(np.uint8)
        data = packed.pack(codes, bits)
        self.assertLen(data, -(-37 * bits // 8))
        self.assertAllEqual(packed.unpack(np.frombuffer(data, np.uint8), bits, 37), codes)


class FileTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.network = _network()
        cls.images = networks.images(16)
        cls.logits = [logits.numpy() for logits in cls.network(cls.images, training=False)]

    @parameterized.parameters(*BITS)
    def test_one_precision_computes_the_same_logits(self, bits):
        directory = pathlib.Path(self.create_tempdir().full_path)
        document = export.export_submodel(
            self.network, f"bits_{bits}", directory, ["packed"], images=self.images
        )
        path = directory / "model_packed.npz"
        (model,) = packed.read(path).values()
        self.assertEqual(model.name, f"bits_{bits}")
        self.assertAllEqual(model(self.images, training=False), self.logits[BITS.index(bits)])
        opened = export.open_model(directory)
        outputs = opened(self.images, f"bits_{bits}")
        self.assertAllClose(outputs["logits"], self.logits[BITS.index(bits)], 1e-2, 1e-2)
        codes, floats, _ = _codes(path)
        costs = cost.of_submodel(self.network, f"bits_{bits}")
        statistics = sum(w.shape[0] for w in model.non_trainable_weights)
        self.assertEqual(codes + 4 * (floats - statistics), costs["packed_bytes"])
        self.assertEqual(document["formats"]["packed"]["bytes"], path.stat().st_size)

    def test_all_precisions_share_one_tensor_of_codes(self):
        directory = self.create_tempdir().full_path
        export.export_submodel(self.network, "all", directory, ["packed"], images=self.images)
        path = pathlib.Path(directory, "model_packed.npz")
        unpacked = packed.read(path)
        self.assertEqual(list(unpacked), list(self.network.submodel_names))
        for model, logits in zip(unpacked.values(), self.logits, strict=True):
            self.assertAllEqual(model(self.images, training=False), logits)
        codes, floats, _ = _codes(path)
        # A byte for each quantised weight, and all float32 weights of the network, each once.
        self.assertEqual(codes, _quantized_weights(self.network))
        self.assertLessEqual(floats, sum(w.numpy().size for w in self.network.weights))

    def test_codes_that_do_not_nest_are_stored_apart(self):
        network = _network(bits=(2, 8), scheme="dorefa")
        path = pathlib.Path(self.create_tempdir().full_path, "both.npz")
        packed.write((network, ["bits_2", "bits_8"]), path)
        codes, _, _ = _codes(path)
        self.assertEqual(codes, _quantized_weights(network) * 10 // 8)
        pairs = zip(packed.read(path).values(), network(self.images), strict=True)
        for model, logits in pairs:
            self.assertAllEqual(model(self.images, training=False), logits)

    def test_any_network_can_be_packed_without_codes(self):
        network = networks.network("msdnet_small")
        path = pathlib.Path(self.create_tempdir().full_path, "exits.npz")
        packed.write((network, [0, 1]), path)
        for model, logits in zip(packed.read(path).values(), network(self.images), strict=True):
            self.assertAllClose(model(self.images), logits, 1e-5, 1e-5)
        self.assertEqual(_codes(path)[0], 0)

    def test_damage_is_named(self):
        path = pathlib.Path(self.create_tempdir().full_path, "model_packed.npz")
        packed.write((self.network, ["bits_3"]), path)
        whole = path.read_bytes()
        with np.load(path) as archive:
            parts = dict(archive)
        cut = {**parts, "codes": parts["codes"][:-1]}
        later = json.loads(parts["header"].tobytes()) | {"version": 2}
        later = {**parts, "header": np.frombuffer(json.dumps(later).encode(), np.uint8)}
        pickled = {**parts, "codes": np.array([{}], object)}
        foreign = parts["header"].tobytes().replace(b"Rescaling", b"Popen")
        foreign = {**parts, "header": np.frombuffer(foreign, np.uint8)}
        for damaged in (whole[:-100], b"", cut, later, pickled, foreign):
            if isinstance(damaged, bytes):
                path.write_bytes(damaged)
            else:
                np.savez(path, **damaged)
            with self.assertRaisesRegex(ValueError, "whole packed file.*Received: path="):
                packed.read(path)
            with self.assertRaisesRegex(ValueError, "damaged"):
                export.open_model(path)
        with self.assertRaises(FileNotFoundError):
            packed.read("nowhere.npz")

    def test_it_holds_no_pickles(self):
        path = pathlib.Path(self.create_tempdir().full_path, "model_packed.npz")
        packed.write((self.network, ["bits_1"]), path)
        self.assertCountEqual(
            zipfile.ZipFile(path).namelist(), ["header.npy", "codes.npy", "floats.npy"]
        )
        with np.load(path, allow_pickle=False) as archive:
            self.assertEqual(
                {name: archive[name].dtype.name for name in archive},
                {"header": "uint8", "codes": "uint8", "floats": "float32"},
            )


class OtherFormatsTest(tf.test.TestCase):
    def test_8_bits_as_int8_and_the_tolerance_of_rounded_activations(self):
        network, images = _network(bits=(4, 8)), networks.images(64)
        directory = self.create_tempdir().full_path
        document = export.export_submodel(
            network,
            "bits_8",
            directory,
            ["litert_int8", "litert", "saved_model"],
            images=images[:32],
            calibration_images=images[32:],
        )
        limits = {name: entry["tolerance"] for name, entry in document["formats"].items()}
        self.assertEqual(limits["litert"], {"difference": 0.5, "agreement": 0.98})
        self.assertEqual(limits["litert_int8"], {"difference": 1.0, "agreement": 0.9})
        (check,) = document["formats"]["litert_int8"]["checks"]
        # Its activations have the same 256 levels; had they the range of their inputs, this would
        # be as large as the logits.
        self.assertLess(check["largest_difference"], 0.1 * check["largest_logit"])
        self.assertEqual(export.Tolerance().of("litert").difference, 1e-4)
        asked = export.Tolerance(difference=1e-3).of("litert", network)
        self.assertEqual((asked.difference, asked.agreement), (1e-3, 0.98))
