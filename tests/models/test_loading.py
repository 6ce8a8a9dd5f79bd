"""Saved networks, whole and damaged."""

import pathlib
import sys
import unittest.mock
import zipfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models


class LoadTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.get_temp_dir()) / "network.keras"

    def _save(self):
        network = models.MSDNet(blocks=2, base=1, step=1, image_size=8)
        network.save(self.path)
        return network

    def test_a_whole_file(self):
        network, images = self._save(), np.zeros((1, 8, 8, 3), "uint8")
        self.assertAllEqual(models.load(self.path)(images)[1], network(images)[1])

    @parameterized.parameters(0.0, 0.3, 0.9, 0.999)
    def test_a_truncated_file_is_named(self, share):
        self._save()
        whole = self.path.read_bytes()
        self.path.write_bytes(whole[: int(share * len(whole))])
        with self.assertRaisesRegex(
            ValueError, "whole .keras file.*Received: path=.*network.keras"
        ):
            models.load(self.path)

    def test_a_changed_weight_is_noticed(self):
        self._save()
        whole = bytearray(self.path.read_bytes())
        info = zipfile.ZipFile(self.path).getinfo("model.weights.h5")
        whole[info.header_offset + info.compress_size // 2] ^= 0xFF
        self.path.write_bytes(whole)
        with self.assertRaisesRegex(ValueError, "whole .keras file"):
            models.load(self.path)

    def test_a_missing_file_is_named(self):
        with self.assertRaisesRegex(ValueError, "found none. Received: path='/no/such.keras'"):
            models.load("/no/such.keras")

    def test_a_class_that_keras_does_not_know_is_named(self):
        @keras.saving.register_keras_serializable("forgotten")
        class Forgotten(keras.layers.Layer):
            def call(self, x):
                return x

        x = keras.Input((2,))
        keras.Model(x, Forgotten()(x)).save(self.path)
        del keras.saving.get_custom_objects()["forgotten>Forgotten"]
        with self.assertRaisesRegex(ValueError, "family=.*Forgotten"):
            models.load(self.path)

    def test_code_in_a_file_is_not_run(self):
        x = keras.Input((2,))
        keras.Model(x, keras.layers.Lambda(lambda t: t * 2)(x)).save(self.path)
        with self.assertRaisesRegex(ValueError, "unsafe|[Ll]ambda"):
            models.load(self.path)

    def test_a_class_named_in_a_file_is_not_imported(self):
        """A module beside the file, as `runs/stranger/payload.py` from the current directory."""
        x = keras.Input((2,))
        keras.Model(x, keras.layers.Dense(2)(x)).save(self.path)
        with zipfile.ZipFile(self.path) as whole:
            parts = {name: whole.read(name) for name in whole.namelist()}
        config = parts["config.json"]
        self.assertIn(b'"module": "keras.layers", "class_name": "Dense"', config)
        config = config.replace(
            b'"module": "keras.layers", "class_name": "Dense"',
            b'"module": "stranger_payload", "class_name": "Dense"',
        )
        with zipfile.ZipFile(self.path, "w") as changed:
            for name, content in {**parts, "config.json": config}.items():
                changed.writestr(name, content)
        (self.path.parent / "stranger_payload.py").write_text("class Dense: pass\n")
        self.enter_context(unittest.mock.patch.object(sys, "path", [str(self.path.parent)]))
        with self.assertRaisesRegex(ValueError, "family='package.module:Class'"):
            models.load(self.path)
        self.assertNotIn("stranger_payload", sys.modules)

    def test_the_caller_may_name_the_class(self):
        code = (
            "import keras; from tests.models.two_exits import TwoExits\n"
            "@keras.saving.register_keras_serializable('named')\n"
            "class Named(TwoExits): pass\n"
        )
        (self.path.parent / "named_by_the_caller.py").write_text(code)
        self.enter_context(unittest.mock.patch.object(sys, "path", [str(self.path.parent)]))
        models.from_preset("named_by_the_caller:Named", image_size=8).save(self.path)
        del keras.saving.get_custom_objects()["named>Named"], sys.modules["named_by_the_caller"]
        with self.assertRaisesRegex(ValueError, "family='package.module:Class'"):
            models.load(self.path)
        loaded = models.load(self.path, family="named_by_the_caller:Named")
        self.assertEqual(loaded.submodel_names, ("early", "late"))
