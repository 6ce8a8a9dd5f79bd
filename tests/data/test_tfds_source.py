"""TFDS data sets: stored ones, incomplete ones, absent ones, and an archive put there by hand."""

import io
import os
import pathlib
import shutil
import socket
import tarfile
import time
import urllib.error
import urllib.request
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl.testing import parameterized

from ipkd_tf import data
from ipkd_tf.data import originals, records, tfds_source

URLOPEN = urllib.request.urlopen


def read(name, data_dir, **settings):
    return data.read(f"tfds:{name}", data_dir=data_dir, **settings)


def store(data_dir, splits, shape=(8, 8, 3), name="leaves", file_format="tfrecord"):
    """Stores a TFDS set: `splits` gives the labels of each split; pixels are 10 * label."""

    def examples(labels):
        for label in labels:
            height, width = (size or 6 + label for size in shape[:2])
            yield {"image": np.full((height, width, shape[2]), 10 * label), "label": label}

    def dataset(labels):
        signature = {"image": tf.TensorSpec(shape, tf.uint8), "label": tf.TensorSpec((), tf.int64)}
        return tf.data.Dataset.from_generator(lambda: examples(labels), output_signature=signature)

    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        data_dir=data_dir,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=shape, dtype=np.uint8),
                "label": tfds.features.ClassLabel(names=["oak", "elm", "ash"]),
            }
        ),
        split_datasets={split: dataset(labels) for split, labels in splits.items()},
        file_format=file_format,
        disable_shuffling=True,
    )
    return pathlib.Path(data_dir) / name / "1.0.0"


class OfflineTestCase(tf.test.TestCase):
    """No test of this file may use a network, nor pass because there is one."""

    def setUp(self):
        super().setUp()
        self.data_dir = self.create_tempdir().full_path
        unreachable = urllib.error.URLError("Name or service not known")
        patch = mock.patch.object(tfds_source.urllib.request, "urlopen", side_effect=unreachable)
        self.urlopen = patch.start()
        self.addCleanup(patch.stop)

    def refusal(self, name="leaves", **settings):
        with self.assertRaisesRegex(ValueError, "(?s)Received: ") as caught:
            read(name, data_dir=self.data_dir, **settings)
        return str(caught.exception)


class StoredTest(OfflineTestCase, parameterized.TestCase):
    def test_reads_both_splits(self):
        folder = store(self.data_dir, {"train": [0, 1, 2, 1, 0], "test": [2, 1]})
        dataset = read("leaves", data_dir=self.data_dir)
        self.assertEqual(dataset.class_names, ("oak", "elm", "ash"))
        self.assertAllEqual(dataset.train.labels, [0, 1, 2, 1, 0])
        self.assertAllEqual(dataset.test.labels, [2, 1])
        self.assertEqual(dataset.train.images().shape, (5, 8, 8, 3))
        for image, label in zip(dataset.train.images(), dataset.train.labels, strict=True):
            self.assertAllEqual(image, np.full((8, 8, 3), 10 * label))
        # Levels 0, 10, 20, 10, 0: mean 8, variance (64 + 4 + 144 + 4 + 64) / 5 = 56
        self.assertAllClose(dataset.mean, [8 / 255] * 3)
        self.assertAllClose(dataset.std, [56**0.5 / 255] * 3)
        self.urlopen.assert_not_called()
        # Copied, and read from the home directory, it is the same data.
        self.assertEqual(dataset.source, "tfds leaves/1.0.0 {'test': 2, 'train': 5}")
        copy = pathlib.Path(self.create_tempdir().full_path)
        shutil.copytree(folder, copy / "leaves" / "1.0.0")
        with mock.patch.dict(os.environ, {"HOME": str(copy.parent)}):
            again = read("leaves", f"~/{copy.name}", image_size=4)
        self.assertEqual(again.train.image_shape, (4, 4, 3))
        self.assertEqual(again.digest, dataset.digest)

    def test_validation_stands_for_test(self):
        store(self.data_dir, {"train": [0, 1, 2], "validation": [1]})
        dataset = read("leaves", data_dir=self.data_dir)
        self.assertAllEqual(dataset.test.labels, [1])
        self.assertIn("'validation': 1", dataset.source)

    def test_a_fifth_of_train_stands_for_test(self):
        store(self.data_dir, {"train": [0, 1, 2] * 10})
        dataset = read("leaves", data_dir=self.data_dir)
        self.assertAllEqual(np.bincount(dataset.train.labels), [8, 8, 8])
        self.assertAllEqual(np.bincount(dataset.test.labels), [2, 2, 2])
        self.assertAllEqual(dataset.test.images()[:, 0, 0, 0], 10 * dataset.test.labels)

    def test_grey_images_of_many_sizes(self):
        store(self.data_dir, {"train": [0, 1, 2], "test": [2]}, shape=(None, None, 1))
        dataset = read("leaves", data_dir=self.data_dir, image_size=5)
        for image, level in zip(dataset.train.images(), [0, 10, 20], strict=True):
            self.assertAllEqual(image, np.full((5, 5, 3), level))
        grey = read("leaves", data_dir=self.data_dir, image_size=(4, 6), grey=True)
        self.assertAllEqual(grey.test.images(), np.full((1, 4, 6, 1), 20))
        self.assertIn("--image_size=32", self.refusal())

    def test_subset(self):
        store(self.data_dir, {"train": [0, 1, 2] * 10, "test": [0, 1, 2] * 2})
        dataset = read("leaves", self.data_dir, train_examples=6, test_examples=3)
        self.assertAllEqual(np.bincount(dataset.train.labels), [2, 2, 2])
        self.assertAllEqual(np.bincount(dataset.test.labels), [1, 1, 1])
        self.assertAllEqual(dataset.train.images()[:, 3, 3, 1], 10 * dataset.train.labels)
        self.assertIn("train_examples=31", self.refusal(train_examples=31))

    @parameterized.parameters("tfrecord", "array_record")
    def test_by_number_as_in_memory(self, file_format):
        labels = {"train": [0, 1, 2] * 4, "test": [2, 1, 0]}
        store(self.data_dir, labels, (None, None, 3), file_format=file_format)
        memory, disk = (
            read("leaves", self.data_dir, image_size=5, memory=size) for size in (None, 0)
        )
        self.assertEqual((memory.train.in_memory, disk.train.in_memory), (True, False))
        self.assertAllEqual(disk.train.labels, labels["train"])
        self.assertAllEqual(disk.test.images([2, 0])[:, 1, 4, 0], [0, 20])
        for one, other in ((memory.train, disk.train), (memory.test, disk.test)):
            self.assertAllEqual(one.images(), other.images())
        self.assertEqual((memory.mean, memory.digest), (disk.mean, disk.digest))

    @parameterized.parameters("tfrecord", "array_record")
    def test_looked_through_once(self, file_format):
        folder = store(self.data_dir, {"train": [0, 1, 2] * 5}, file_format=file_format)
        cache = {"XDG_CACHE_HOME": self.create_tempdir().full_path}
        with mock.patch.dict(os.environ, cache), mock.patch.object(originals, "FROM", 12):
            first = read("leaves", self.data_dir, memory=0)
            with (
                mock.patch.object(records.TFRecords, "_look_through", side_effect=AssertionError),
                mock.patch.object(
                    records.ArrayRecords, "_look_through", side_effect=AssertionError
                ),
            ):
                again = read("leaves", self.data_dir, memory=0)
                self.assertAllEqual(again.train.images(), first.train.images())
                (shard,) = folder.glob("*train*")
                os.utime(shard, (1, 1))
                with self.assertRaises(AssertionError):
                    read("leaves", self.data_dir)

    def test_a_file_cut_off_meanwhile(self):
        folder = store(self.data_dir, {"train": [0, 1, 2] * 4, "test": [2, 1, 0]})
        dataset = read("leaves", self.data_dir, memory=0)
        (shard,) = folder.glob("*test.tfrecord*")
        shard.write_bytes(shard.read_bytes()[:-30])
        self.assertLen(dataset.test.images([0, 1]), 2)
        with self.assertRaisesRegex(ValueError, "(?s)1 of 15.*record 2 of split 'test'"):
            dataset.test.images()

    def test_a_test_split_without_labels_does_not_count(self):
        store(self.data_dir, {"train": [0, 1, 2], "test": [-1, -1], "validation": [1, 2]})
        self.assertAllEqual(read("leaves", self.data_dir).test.labels, [1, 2])

    def test_tells_how_far_it_is(self):
        store(self.data_dir, {"train": [0, 1, 2] * 2, "test": [1]})
        tell = mock.Mock()
        read("leaves", self.data_dir, progress=tell)
        self.assertEqual(tell.mock_calls, [mock.call(6, 6), mock.call(1, 1), mock.call(7, 7)])

    def test_published_statistics_of_cifar(self):
        self.assertAllClose(tfds_source.PUBLISHED["cifar100"][0], (0.5071, 0.4865, 0.4409))

    def test_other_kinds_of_data(self):
        self.assertIn("'image' and 'label'", self.refusal("imdb_reviews"))
        self.assertIn("no data set of this name", self.refusal("no_such_set"))

    def test_no_train_split(self):
        store(self.data_dir, {"test": [0, 1, 2]})
        self.assertIn("no split 'train'", self.refusal())


class IncompleteTest(OfflineTestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = store(self.data_dir, {"train": [0, 1, 2] * 10, "test": [0, 1, 2]})
        self.shard = self.folder / "leaves-train.tfrecord-00000-of-00001"

    def check_refused(self, *needles):
        message = self.refusal()
        for needle in ("stored incompletely", str(self.folder), "--dataset=digits", *needles):
            self.assertIn(needle, message)

    def test_missing_shard(self):
        self.shard.unlink()
        self.check_refused("leaves-train.tfrecord-00000-of-00001 missing")

    def test_shard_cut_inside_a_record(self):
        self.shard.write_bytes(self.shard.read_bytes()[:-10])
        self.check_refused("split 'train' cannot be read", "truncated")

    def test_shard_cut_between_records(self):
        records = list(tf.data.TFRecordDataset(str(self.shard)).take(12).as_numpy_iterator())
        with tf.io.TFRecordWriter(str(self.shard)) as writer:
            for record in records:
                writer.write(record)
        self.check_refused("split 'train'", "12", "30")

    def test_changed_byte(self):
        content = bytearray(self.shard.read_bytes())
        content[len(content) // 2] ^= 255
        self.shard.write_bytes(bytes(content))
        self.check_refused("split 'train' cannot be read", "corrupted record")

    def test_missing_description_of_a_set_known_to_tfds(self):
        self.folder = pathlib.Path(self.data_dir) / "cifar10" / "3.0.2"
        self.folder.mkdir(parents=True)
        message = self.refusal("cifar10")
        self.assertIn("dataset_info.json, features.json missing", message)


def cifar10_archive(path, per_file=4):
    """Writes an archive in the layout of cifar-10-binary.tar.gz: images of level 20 * label."""

    def member(name, content):
        info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
        info.size = len(content)
        return info, io.BytesIO(content)

    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    image = {label: bytes([label]) + bytes([20 * label]) * 3072 for label in range(10)}
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(*member("batches.meta.txt", "\n".join(names).encode()))
        for index in range(1, 6):
            content = b"".join(image[(index + k) % 10] for k in range(per_file))
            archive.addfile(*member(f"data_batch_{index}.bin", content))
        archive.addfile(*member("test_batch.bin", image[7] + image[3]))


class AbsentTest(OfflineTestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.archive = pathlib.Path(self.data_dir, "downloads/manual/cifar-10-binary.tar.gz")

    def test_offline_is_told_at_once_with_the_ways_out(self):
        start = time.monotonic()
        message = self.refusal("cifar10")
        self.assertLess(time.monotonic() - start, 5)
        for needle in (
            str(pathlib.Path(self.data_dir, "cifar10/3.0.2")),  # where it was looked for
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz does not answer",
            f"tfds.load('cifar10', data_dir='{self.data_dir}')",
            f"'{self.archive}'",
            "--dataset=digits",
        ):
            self.assertIn(needle, message)

    def test_a_network_that_never_answers_is_given_up(self):
        silent = socket.create_server(("127.0.0.1", 0))  # accepts connections and says nothing
        self.addCleanup(silent.close)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        self.urlopen.side_effect = lambda _, timeout: URLOPEN(address, timeout=timeout)
        with mock.patch.object(tfds_source, "SECONDS_TO_ANSWER", 0.2):
            start = time.monotonic()
            self.assertIn("does not answer", self.refusal("cifar100"))
            self.assertLess(time.monotonic() - start, 2)

    @parameterized.parameters(
        (None,), (urllib.error.HTTPError("https://host", 403, "Forbidden", {}, None),)
    )
    def test_downloads_when_the_host_answers(self, error):
        self.urlopen.side_effect = error
        with mock.patch.object(
            tfds.core.DatasetBuilder, "download_and_prepare", side_effect=OSError("disk full")
        ) as prepare:
            message = self.refusal("cifar10")
        prepare.assert_called_once()
        self.assertIn("could not be prepared: OSError: disk full", message)

    def test_manual_data_sets_tell_their_instructions(self):
        self.assertIn("ILSVRC2012_img_train.tar", self.refusal("imagenet2012", image_size=32))

    def test_archive_by_hand(self):
        cifar10_archive(self.archive)
        with mock.patch.object(
            tfds.core.download.DownloadManager, "_register_or_validate_checksums"
        ):
            dataset = read("cifar10", data_dir=self.data_dir)
        self.urlopen.assert_not_called()
        self.assertEqual(dataset.train.images().shape, (20, 32, 32, 3))
        self.assertEqual(sorted(dataset.test.labels), [3, 7])
        self.assertAllEqual(dataset.train.images()[:, 5, 6, 2], 20 * dataset.train.labels)
        self.assertEqual(dataset.class_names[9], "truck")
        self.assertAllClose(dataset.mean, (0.4914, 0.4822, 0.4465))
        shutil.rmtree(self.archive.parent)
        again = read("cifar10", data_dir=self.data_dir)
        self.assertAllEqual(again.train.images(), dataset.train.images())

    def test_wrong_archive(self):
        cifar10_archive(self.archive)
        message = self.refusal("cifar10")
        self.assertIn("could not be prepared", message)
        self.assertIn("wrong checksum", message)
        self.assertIn(str(self.archive), message)
        self.assertFalse(pathlib.Path(self.data_dir, "cifar10/3.0.2").exists())
