import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.data import ImageDataset, dataset


def fields(**changes):
    return {
        "name": "two",
        "train_images": np.zeros((3, 4, 4, 3), np.uint8),
        "train_labels": np.array([0, 1, 1], np.int32),
        "test_images": np.zeros((2, 4, 4, 3), np.uint8),
        "test_labels": np.array([1, 0], np.int32),
        "class_names": ("cat", "dog"),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
    } | changes


class ImageDatasetTest(tf.test.TestCase, parameterized.TestCase):
    def test_counts_classes(self):
        self.assertEqual(ImageDataset(**fields()).num_classes, 2)

    @parameterized.named_parameters(
        (
            "float_images",
            {"train_images": np.zeros((3, 4, 4, 3))},
            "train.*uint8.*Received: images.dtype=float64",
        ),
        ("grey", {"test_images": np.zeros((2, 4, 4, 1), np.uint8)}, r"test.*\(2, 4, 4, 1\)"),
        ("list", {"train_images": [[0]]}, "uint8 array"),
        ("no_images", {"train_images": np.zeros((0, 4, 4, 3), np.uint8)}, "train.*no images"),
        ("other_size", {"test_images": np.zeros((2, 5, 5, 3), np.uint8)}, "same size"),
        (
            "long_labels",
            {"train_labels": np.array([0, 1, 1])},
            "int32.*Received: labels.dtype=int64",
        ),
        ("few_labels", {"train_labels": np.array([0], np.int32)}, "its 3 images"),
        (
            "high",
            {"train_labels": np.array([0, 1, 2], np.int32)},
            r"in 0\.\.1,.*2 classes.*Received: labels.min\(\)=0, labels.max\(\)=2",
        ),
        (
            "low",
            {"test_labels": np.array([-1, 1], np.int32)},
            r"Received: labels.min\(\)=-1, labels.max\(\)=1",
        ),
        ("no_classes", {"class_names": ()}, r"at least one class.*Received: class_names=\(\)"),
        ("two_means", {"mean": (0.5, 0.5)}, "three finite"),
        ("zero_std", {"std": (0.2, 0.0, 0.2)}, "above 0"),
        ("nan", {"mean": (0.5, float("nan"), 0.5)}, "three finite"),
    )
    def test_refuses(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            ImageDataset(**fields(**changes))


class MeanAndStdTest(tf.test.TestCase):
    def test_by_hand(self):
        images = np.zeros((2, 1, 2, 3), np.uint8)
        images[..., 0] = [[[0, 255]], [[0, 255]]]  # mean 1/2, deviation 1/2
        images[..., 1] = 51  # 1/5, constant
        images[..., 2] = [[[0, 0]], [[0, 255]]]  # mean 1/4, variance 1/4 - 1/16 = 3/16
        mean, std = dataset.mean_and_std(images)
        self.assertAllClose(mean, (0.5, 0.2, 0.25), atol=1e-12)
        self.assertAllClose(std, (0.5, 1 / 255, 0.1875**0.5), atol=1e-12)

    def test_chunks_make_no_difference(self):
        images = np.random.RandomState(0).randint(0, 256, (5000, 2, 2, 3)).astype(np.uint8)
        mean, std = dataset.mean_and_std(images)
        self.assertAllClose(mean, np.mean(images / 255, axis=(0, 1, 2)), atol=1e-12)
        self.assertAllClose(std, np.std(images / 255, axis=(0, 1, 2)), atol=1e-12)
