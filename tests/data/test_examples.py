"""Examples by index, the data set around them, its digest, its mean and deviation."""

import tracemalloc
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.data import Examples, ImageDataset, examples, pixels, splits


def plain(labels, size=4):
    return Examples(np.zeros((len(labels), size, size, 3), np.uint8), np.array(labels, np.int32))


def fields(**changes):
    return {
        "name": "two",
        "train": plain([0, 1, 1]),
        "test": plain([1, 0]),
        "class_names": ("cat", "dog"),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
    } | changes


class ExamplesTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.pixels = np.random.RandomState(0).randint(0, 256, (6, 2, 3, 3)).astype(np.uint8)
        self.labels = np.arange(6, dtype=np.int32)
        self.examples = Examples(self.pixels, self.labels)

    def test_images_by_index(self):
        self.assertLen(self.examples, 6)
        self.assertEqual(self.examples.image_shape, (2, 3, 3))
        self.assertAllEqual(self.examples.images(), self.pixels)
        self.assertAllEqual(self.examples.images([4, 0]), self.pixels[[4, 0]])
        self.assertAllEqual(self.examples.images(slice(1, 3)), self.pixels[1:3])

    def test_slices_like_an_array(self):
        self.assertAllEqual(self.examples[1:3], self.pixels[1:3])

    def test_a_part_of_a_part_shares_the_pixels(self):
        part = self.examples.subset(np.array([5, 2, 3])).subset([2, 0])
        self.assertAllEqual(part.labels, [3, 5])
        self.assertAllEqual(part.images(), self.pixels[[3, 5]])
        self.assertIs(part._source, self.examples._source)

    def test_batches_inside_tf_data(self):
        part = self.examples.subset([5, 2, 3])
        steps = tf.data.Dataset.from_tensors([2, 0])
        ((images, labels),) = steps.map(part.gather)
        self.assertAllEqual(images, self.pixels[[3, 5]])
        self.assertAllEqual(labels, [3, 5])

    def test_another_source(self):
        class Ramp:
            image_shape = (1, 1, 3)

            def __len__(self):
                return 3

            def read(self, rows):
                return self.gather(rows).numpy()

            def gather(self, rows):
                return tf.cast(tf.tile(rows[:, None, None, None], (1, 1, 1, 3)), tf.uint8)

        part = Examples(Ramp(), np.zeros(3, np.int32)).subset([2, 1])
        self.assertAllEqual(part.images()[:, 0, 0, 1], [2, 1])
        self.assertAllEqual(part.gather(tf.constant([1]))[0], [[[[1, 1, 1]]]])

    @parameterized.named_parameters(
        ("float_images", np.zeros((3, 4, 4, 3)), "uint8.*Received: images.dtype='float64'"),
        ("two_channels", np.zeros((2, 4, 4, 2), np.uint8), r"1 or 3.*\(2, 4, 4, 2\)"),
        ("list", [[0]], "uint8 array"),
        ("none", np.zeros((0, 4, 4, 3), np.uint8), "at least one image"),
    )
    def test_refuses_images(self, images, message):
        with self.assertRaisesRegex(ValueError, message):
            Examples(images, np.zeros(len(images), np.int32))

    def test_refuses_labels(self):
        with self.assertRaisesRegex(ValueError, "int32.*Received: labels.dtype='int64'"):
            Examples(self.pixels, self.labels.astype(np.int64))
        with self.assertRaisesRegex(ValueError, "its 6 images"):
            Examples(self.pixels, self.labels[:1])


class ImageDatasetTest(tf.test.TestCase, parameterized.TestCase):
    def test_counts_classes(self):
        self.assertEqual(ImageDataset(**fields()).num_classes, 2)

    @parameterized.named_parameters(
        ("other_size", {"test": plain([0, 1], 5)}, "same size"),
        (
            "high",
            {"train": plain([0, 1, 2])},
            r"in 0\.\.1,.*2 classes.*split='train', labels.min\(\)=0, labels.max\(\)=2",
        ),
        (
            "low",
            {"test": plain([-1, 1])},
            r"split='test', labels.min\(\)=-1, labels.max\(\)=1",
        ),
        ("no_classes", {"class_names": ()}, r"at least one class.*class_names=\(\)"),
        ("two_means", {"mean": (0.5, 0.5)}, "finite mean and .* of each of 3 channels"),
        ("zero_std", {"std": (0.2, 0.0, 0.2)}, "above 0"),
        ("nan", {"mean": (0.5, float("nan"), 0.5)}, "finite mean and .* of each of 3 channels"),
    )
    def test_refuses(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            ImageDataset(**fields(**changes))

    def test_digest_follows_labels_classes_and_source(self):
        changes = (
            {},
            {"source": "another"},
            {"class_names": ("cat", "horse")},
            {"train": plain([0, 1, 0])},
            {"test": plain([1, 0, 0])},
            {"train": plain([0, 1]), "test": plain([1, 1, 0])},
        )
        digests = [ImageDataset(**fields(**change)).digest for change in changes]
        self.assertLen(set(digests), len(changes))
        for same in ({"train": plain([0, 1, 1], 8), "test": plain([1, 0], 8)}, {"name": "moved"}):
            self.assertEqual(ImageDataset(**fields(**same)).digest, digests[0])

    def test_digest_is_the_same_in_every_process(self):
        self.assertEqual(ImageDataset(**fields()).digest, "e36dbe56e71286f0")


def labelled(images):
    return Examples(images, np.zeros(len(images), np.int32))


class MeanAndStdTest(tf.test.TestCase):
    def test_by_hand(self):
        images = np.zeros((2, 1, 2, 3), np.uint8)
        images[..., 0] = [[[0, 255]], [[0, 255]]]  # mean 1/2, deviation 1/2
        images[..., 1] = 51  # 1/5, constant
        images[..., 2] = [[[0, 0]], [[0, 255]]]  # mean 1/4, variance 1/4 - 1/16 = 3/16
        mean, std = examples.mean_and_std(labelled(images))
        self.assertAllClose(mean, (0.5, 0.2, 0.25), atol=1e-12)
        self.assertAllClose(std, (0.5, 1 / 255, 0.1875**0.5), atol=1e-12)

    def test_chunks_make_no_difference(self):
        images = np.random.RandomState(0).randint(0, 256, (5000, 32, 20, 3)).astype(np.uint8)
        mean, std = examples.mean_and_std(labelled(images))
        self.assertAllClose(mean, np.mean(images / 255, axis=(0, 1, 2)), atol=1e-12)
        self.assertAllClose(std, np.std(images / 255, axis=(0, 1, 2)), atol=1e-12)

    def test_a_part_of_the_examples(self):
        images = np.random.RandomState(0).randint(0, 256, (9, 2, 2, 3)).astype(np.uint8)
        mean, _ = examples.mean_and_std(labelled(images).subset([2, 7]))
        self.assertAllClose(mean, np.mean(images[[2, 7]] / 255, axis=(0, 1, 2)), atol=1e-12)

    def test_memory_does_not_grow_with_the_images(self):
        images = np.zeros((40, 512, 512, 3), np.uint8)  # 31 MB, as float64 252 MB
        tracemalloc.start()
        examples.mean_and_std(labelled(images))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertLess(peak, 60e6)


class Counting:
    """A source whose image of each row is filled with its number."""

    image_shape = (2, 2, 3)

    def __len__(self):
        return 300

    def read(self, rows):
        return np.tile(np.uint8(rows)[:, None, None, None], (1, 2, 2, 3))


class CollectTest(tf.test.TestCase):
    def test_collects_any_rows_and_tells_how_far_it_is(self):
        rows, progress = np.arange(280)[::-1], mock.Mock()
        source = pixels.collect(Counting(), rows, progress)
        self.assertAllEqual(source.read(slice(None))[:, 1, 0, 2], np.uint8(rows))
        self.assertEqual(progress.mock_calls, [mock.call(256, 280), mock.call(280, 280)])

    def test_tensorflow_shares_the_memory(self):
        source = pixels.collect(Counting(), np.arange(9))
        self.assertAllEqual(source.gather([4, 8])[:, 0, 0, 0], [4, 8])
        source._array[4] = 77
        self.assertAllEqual(source.gather([4])[0], np.full((2, 2, 3), 77))

    def test_pixels_of_a_user_are_copied(self):
        array = np.zeros((3, 4, 4, 3), np.uint8)
        labels = np.zeros(3, np.int32)
        mine = Examples(array, labels)
        self.assertAllEqual(mine.gather([1])[0], array[:1])
        array[1] = 5
        self.assertAllEqual(mine.gather([1])[0], np.zeros((1, 4, 4, 3)))

    def test_of_many_examples_a_sample_gives_mean_and_deviation(self):
        labels = np.repeat(np.arange(3, dtype=np.int32), 100)
        many = Examples(Counting(), labels)
        with mock.patch.object(examples, "STATISTICS_EXAMPLES", 30):
            mean, _ = examples.mean_and_std(many)
        levels = np.uint8(splits.draw(labels, 30)) / 255
        self.assertAllClose(mean, [levels.mean()] * 3)
