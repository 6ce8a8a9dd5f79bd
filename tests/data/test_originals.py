"""Images read from their files when asked for: the same as in memory, and what breaks meanwhile."""

import io
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image, ImageOps

from ipkd_tf import data
from ipkd_tf.data import image_file, originals


def photograph(seed, size=(40, 30), format="JPEG", orientation=None):
    """The bytes of a picture of large patches."""
    patches = np.random.RandomState(seed).randint(0, 256, (4, 5, 3)).astype(np.uint8)
    image, file = Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = orientation or 1
    image.save(file, format, exif=exif)
    return file.getvalue()


def read(root, **settings):
    return data.read(f"folder:{root}", **{"image_size": 8, **settings})


def batches(dataset, augmentation=None, steps=5):
    augmentation = augmentation or data.Augmentation(crop_padding=1)
    stream = data.training(dataset.train, None, 6, seed=1, augmentation=augmentation).take(steps)
    return [(images.numpy(), labels.numpy()) for images, labels in stream]


class PhotographsTestCase(tf.test.TestCase, parameterized.TestCase):
    """A folder of 20 photographs of two classes, of many shapes and orientations."""

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        for number in range(20):
            path = self.root / f"class_{number % 2}" / f"{number:02}.jpg"
            path.parent.mkdir(exist_ok=True)
            size = 40 + number, 30 + 3 * (number % 5)
            path.write_bytes(photograph(number, size, orientation=1 + number % 8))

    def assert_same(self, one, other):
        for pair, same in zip(one, other, strict=True):
            for array, equal in zip(pair, same, strict=True):
                self.assertAllEqual(array, equal)


class OnDiskTest(PhotographsTestCase):
    @parameterized.parameters({}, {"centre_crop": 0.875}, {"train_examples": 9})
    def test_the_same_as_in_memory(self, **settings):
        memory, disk = read(self.root, **settings), read(self.root, memory=100, **settings)
        self.assertEqual((memory.train.in_memory, disk.train.in_memory), (True, False))
        self.assertEqual((memory.mean, memory.std), (disk.mean, disk.std))
        self.assertEqual(memory.digest, disk.digest)
        self.assert_same(batches(memory), batches(disk))
        self.assertAllEqual(memory.test.images(), disk.test.images())
        for images, labels in data.evaluation(disk.test, None, 3):
            self.assertEqual(images.shape[1:], (8, 8, 3))
            self.assertEqual(len(images), len(labels))
        spec = data.training(disk.train, None, 6).element_spec
        self.assertEqual([part.shape for part in spec], [(6, 8, 8, 3), (6,)])

    def test_reads_no_more_than_it_needs(self):
        disk = read(self.root, memory=100)
        with mock.patch.object(image_file, "decode", wraps=image_file.decode) as decode:
            disk.train.images([0, 3])
        self.assertLen(decode.mock_calls, 2)

    def test_windows_are_those_of_the_originals_and_repeat(self):
        dataset = read(self.root, windows=True)
        self.assertFalse(dataset.train.in_memory)
        augmentation = data.Augmentation(0, False, resized_crop=0.3)
        seen = batches(dataset, augmentation)
        self.assert_same(seen, batches(dataset, augmentation))
        resumed = data.training(dataset.train, None, 6, 1, 3, augmentation).take(1)
        self.assert_same(seen[3:4], list(resumed.as_numpy_iterator()))
        # What is read for a step is what its numbers draw of the file.
        seed = tf.constant([1, 0], tf.int64)
        windows = augmentation.draw_windows(6, seed).numpy()
        label = seen[0][1][0]
        files = sorted((self.root / f"class_{label}").iterdir())
        crops = [image_file.decode(f, (8, 8, 3), image_file.drawn(windows[0])) for f in files]
        self.assertTrue(any(np.array_equal(crop, seen[0][0][0]) for crop in crops))

    def test_windows_of_images_of_the_right_size_stay_in_memory(self):
        digits = data.read("digits", image_size=8, windows=True)
        self.assertTrue(digits.train.in_memory)
        on_demand = data.read("digits", image_size=8, memory=0)
        self.assertFalse(on_demand.train.in_memory)
        augmentation = data.Augmentation(0, False, resized_crop=0.3)
        self.assert_same(batches(digits, augmentation, 2), batches(on_demand, augmentation, 2))
        self.assert_same(batches(digits, None, 2), batches(on_demand, None, 2))


class BrokenTest(PhotographsTestCase):
    def break_one(self, name="class_1/05.jpg"):
        (self.root / name).write_bytes((self.root / name).read_bytes()[:300])
        return str(self.root / name)

    def test_a_file_that_breaks_meanwhile_is_named(self):
        dataset = read(self.root, memory=100)
        name = self.break_one()
        for vanished in (False, True):
            if vanished:
                pathlib.Path(name).unlink()
            with self.assertRaisesRegex(ValueError, f"(?s)1 of 20 image.*{name}.*skip_broken=0"):
                with data.explain_failure(dataset.train):
                    batches(dataset)

    def test_other_errors_stay_what_they_are(self):
        dataset = read(self.root, memory=100)
        with self.assertRaises(tf.errors.OpError), data.explain_failure(dataset.train):
            tf.debugging.assert_equal(1, 2)

    def test_skipped_in_memory_as_on_disk(self):
        name = self.break_one()
        memory = read(self.root, skip_broken=1)
        disk = read(self.root, skip_broken=1, memory=100)
        self.assertEqual([*memory.train.skipped], [name])
        seen = batches(memory, data.Augmentation(0, False))
        self.assert_same(seen, batches(disk, data.Augmentation(0, False)))
        self.assertEqual([*disk.train.skipped], [name])
        self.assertTrue(all(images.any(axis=(1, 2, 3)).all() for images, _ in seen))
        # Image and label of the next example stand for it.
        place = next(k for k in range(16) if not memory.train._source.read([k]).any())
        images, labels = memory.train.read([place, (place + 1) % 16])
        self.assertAllEqual(images[0], images[1])
        self.assertAllEqual(labels[0], labels[1])

    def test_one_too_many(self):
        names = [self.break_one(), self.break_one("class_0/04.jpg")]
        with self.assertRaises(ValueError) as caught:
            read(self.root, skip_broken=1)
        for needle in (*names, "2 of 20", "--skip_broken=2", "Received: skip_broken=1"):
            self.assertIn(needle, str(caught.exception))

    def test_nothing_but_broken_images(self):
        dataset = read(self.root, memory=100, skip_broken=20)
        for path in self.root.rglob("*.jpg"):
            path.unlink()
        with self.assertRaisesRegex(ValueError, "None of the 16 images"):
            dataset.train.images([0])


class ImageFileTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(orientation=[*range(1, 9)], size=((90, 60), (900, 600)))
    def test_window_of_the_upright_image(self, orientation, size):
        file = photograph(3, size, orientation=orientation)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
        width, height = upright.size
        box = width // 3, height // 6, width // 2, height // 3
        edges = (box[0], box[1], box[0] + box[2], box[1] + box[3])
        expected = upright.crop(edges).resize((10, 10), Image.Resampling.BILINEAR)
        # Decoded smaller, and scaled from beyond the edge of the window: not the same, but near.
        got = image_file.decode(
            file, (10, 10, 3), lambda *shape: box if shape == (width, height) else None
        )
        self.assertAllClose(np.int32(got), np.int32(expected), atol=16)

    def test_centre(self):
        self.assertEqual(image_file.centre(0)(30, 20), (0, 0, 30, 20))
        self.assertEqual(image_file.centre(0.5)(30, 20), (10, 5, 10, 10))
        self.assertEqual(image_file.centre(0.5, 2)(30, 20), (7.5, 6.25, 15, 7.5))
        self.assertEqual(image_file.centre(1, 0.5)(30, 20), (10, 0, 10, 20))

    def test_drawn_by_hand(self):
        draws = np.array([[1, 4 / 3, 0, 0], [0.5, 1.125, 0.5, 0.999]])
        # 40 x 30: the first is 40 x 30 itself; of 40 x 40 it would be 46 wide and does not fit,
        # where the second is round(sqrt(800 * 1.125)) = 30 wide and round(sqrt(711.1)) = 27 high.
        self.assertEqual(image_file.drawn(draws)(40, 30), (0, 0, 40, 30))
        self.assertEqual(image_file.drawn(draws)(40, 40), (5, 13, 30, 27))
        # 100 x 10: none fits; in the middle the widest is 13 x 10.
        self.assertEqual(image_file.drawn(draws[:1])(100, 10), (43, 0, 13, 10))
        self.assertEqual(image_file.drawn(draws[:1])(10, 100), (0, 43, 10, 13))


class KeptTest(tf.test.TestCase):
    def test_kept_until_the_files_change(self):
        place = self.create_tempdir().full_path
        with mock.patch.dict("os.environ", {"XDG_CACHE_HOME": place}):
            find = mock.Mock(side_effect=[["a"], ["b"], ["c"]])
            for signature, expected in (([1, 2.5], ["a"]), ([1, 2.5], ["a"]), ([2, 2.5], ["b"])):
                count = lambda value: originals.FROM  # noqa: E731
                self.assertEqual(originals.keep("/x", signature, find, count), expected)
            self.assertEqual(
                originals.keep("/x", [3], find, lambda value: originals.FROM - 1), ["c"]
            )
            for path in pathlib.Path(place).rglob("*.json"):
                path.write_text("{")
            find.side_effect = [["d"]]
            self.assertEqual(originals.keep("/x", [2, 2.5], find, lambda value: 0), ["d"])


if __name__ == "__main__":
    tf.test.main()
