"""The room's front door: names, settings, and `load` as a Keras user calls it."""

import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from ipkd_tf import data


class ReadTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("mnist", "", "tfds:", "folder:", "digits:8", "CIFAR10")
    def test_unknown_names(self, name):
        with self.assertRaisesRegex(
            ValueError,
            f"digits, cifar10, cifar100, tfds:NAME.*folder:PATH.*Received: name='{name}'",
        ):
            data.read(name)

    @parameterized.parameters("image_size", "train_examples", "test_examples")
    def test_settings_start_at_one(self, setting):
        with self.assertRaisesRegex(ValueError, f"from 1 on.*Received: {setting}=0"):
            data.read("digits", **{setting: 0})

    def test_subset_seed(self):
        first, same, other = (
            data.read("digits", image_size=8, train_examples=100, seed=seed).train.images()
            for seed in (0, 0, 1)
        )
        self.assertAllEqual(first, same)
        self.assertNotAllEqual(first, other)

    def test_folder_with_a_colon_in_its_path(self):
        root = pathlib.Path(self.create_tempdir().full_path) / "a:b"
        for index in range(5):
            (root / "cat").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(root / "cat" / f"{index}.png")
        self.assertLen(data.read(f"folder:{root}").train.images(), 4)

    def test_any_tfds_name_reaches_tfds(self):
        with self.assertRaisesRegex(ValueError, "TFDS has no.*name='no_such_set'"):
            data.read("tfds:no_such_set", data_dir=self.create_tempdir().full_path)


class LoadTest(tf.test.TestCase):
    def test_one_epoch_per_iteration_and_all_tests(self):
        train, test = data.load("digits", batch_size=100, seed=1)
        epochs = [np.concatenate([y for _, y in train.as_numpy_iterator()]) for _ in range(2)]
        self.assertEqual([len(epoch) for epoch in epochs], [1400, 1400])
        self.assertNotAllEqual(epochs[0], epochs[1])
        self.assertAllEqual(
            np.concatenate([y for _, y in test.as_numpy_iterator()]),
            data.read("digits").test.labels,
        )

    def test_digits_are_cropped_but_not_mirrored(self):
        digits = data.read("digits")
        arrays = digits.train.images(), digits.train.labels
        expected = data.training(*arrays, 64, seed=0, augmentation=data.Augmentation(flip=False))
        train, _ = data.load("digits", batch_size=64)
        for (images, _), (same, _) in zip(train.take(2), expected, strict=False):
            self.assertAllEqual(images, same)

    def test_fits(self):
        train, test = data.load("digits", batch_size=128)
        model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        history = model.fit(train, validation_data=test, epochs=2, verbose=0)
        self.assertLen(history.history["val_loss"], 2)
