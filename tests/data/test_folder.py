"""A folder of images per class: layouts, formats, and what can be wrong with them."""

import os
import pathlib
import shutil
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from ipkd_tf import data
from ipkd_tf.data import folder, originals


def read(root, **settings):
    return data.read(f"folder:{root}", **settings)


RED, BLUE = (255, 0, 0), (0, 0, 255)


def save(path, colour=RED, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)


class FolderTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def save_classes(self, root, number=10):
        for index in range(number):
            save(root / "dog" / f"{index}.png", BLUE)
            save(root / "cat" / f"{index}.bmp", RED)

    def test_a_fifth_is_held_out(self):
        self.save_classes(self.root)
        dataset = read(self.root)
        self.assertEqual(dataset.class_names, ("cat", "dog"))
        self.assertAllEqual(np.bincount(dataset.train.labels), [8, 8])
        self.assertAllEqual(np.bincount(dataset.test.labels), [2, 2])
        for images, labels in (
            (dataset.train.images(), dataset.train.labels),
            (dataset.test.images(), dataset.test.labels),
        ):
            for image, label in zip(images, labels, strict=True):
                self.assertAllEqual(image, np.broadcast_to([RED, BLUE][label], (8, 8, 3)))
        self.assertAllClose(dataset.mean, (0.5, 0.0, 0.5))
        self.assertAllClose(dataset.std, (0.5, 1 / 255, 0.5))

    def test_given_splits(self):
        self.save_classes(self.root / "train", 3)
        self.save_classes(self.root / "test", 2)
        dataset = read(self.root, image_size=4, train_examples=2)
        self.assertEqual(dataset.train.images().shape, (2, 4, 4, 3))
        self.assertEqual(dataset.test.images().shape, (4, 4, 4, 3))

    def test_a_class_may_be_called_train(self):
        for name in ("train", "plane"):
            for index in range(5):
                save(self.root / name / f"{index}.png")
        self.assertEqual(read(self.root).class_names, ("plane", "train"))

    def test_hidden_files_are_ignored_and_others_named(self):
        self.save_classes(self.root)
        (self.root / "cat" / ".DS_Store").write_bytes(b"x")
        (self.root / ".cache").mkdir()
        read(self.root)
        (self.root / "cat" / "notes.txt").write_text("x")
        with self.assertWarnsRegex(
            UserWarning, r"Not read from .*: 1 files other than .*\(cat: 1\)"
        ):
            dataset = read(self.root)
        self.assertLen(dataset.train.images(), 16)

    def test_nested_folders_are_named_once_by_class(self):
        self.save_classes(self.root)
        save(self.root / "dog" / "more" / "deep" / "a.png")
        save(self.root / "dog" / "more" / "b.png")
        save(self.root / "cat" / "more" / "c.png")
        (self.root / "cat" / "notes.txt").write_text("x")
        with self.assertWarns(UserWarning) as caught:
            dataset = read(self.root)
        self.assertLen(dataset.train, 16)
        message = str(caught.warning)
        self.assertIn("3 images in folders below those (cat: 1, dog: 2); 1 files", message)

    def test_a_class_with_nested_images_alone(self):
        self.save_classes(self.root)
        save(self.root / "bird" / "more" / "0.png")
        self.refuses("bird", "1 are in folders below")

    def test_progress(self):
        self.save_classes(self.root)
        seen = []
        read(self.root, progress=lambda *counts: seen.append(counts))
        self.assertEqual(seen, [(20, 20)])

    def test_digest_follows_the_files(self):
        self.save_classes(self.root)
        first = read(self.root).digest
        self.assertEqual(read(self.root, image_size=4).digest, first)
        moved = shutil.copytree(self.root, pathlib.Path(self.create_tempdir().full_path) / "moved")
        self.assertEqual(read(moved).digest, first)
        save(self.root / "dog" / "0.png", BLUE, size=(90, 40))  # another size in bytes
        self.assertNotEqual(read(self.root, image_size=4).digest, first)
        (moved / "dog" / "9.png").rename(moved / "dog" / "10.png")
        self.assertNotEqual(read(moved).digest, first)

    def test_a_long_list_is_kept_until_a_folder_changes(self):
        self.save_classes(self.root)
        save(self.root / "dog" / "more" / "0.png")
        for name in ("cat", "dog"):
            os.utime(self.root / name, (1, 1))
        cache = {"XDG_CACHE_HOME": self.create_tempdir().full_path}
        with mock.patch.dict(os.environ, cache), mock.patch.object(originals, "FROM", 20):
            with self.assertWarnsRegex(UserWarning, "1 images in folders below"):
                first = read(self.root)
            with mock.patch.object(folder, "_list_folder", side_effect=AssertionError):
                with self.assertWarnsRegex(UserWarning, "1 images in folders below"):
                    again = read(self.root)
            self.assertEqual(again.digest, first.digest)
            self.assertAllEqual(again.train.images(), first.train.images())
            save(self.root / "dog" / "new.png")
            with self.assertWarns(UserWarning):
                self.assertLen(read(self.root).train, 17)

    def only_image(self, name, save_image):
        """Reads one odd image among plain ones; returns its pixels."""
        for index in range(2):
            save(self.root / "test" / "a" / f"{index}.png")
        (self.root / "train" / "a").mkdir(parents=True)
        save_image(self.root / "train" / "a" / name)
        return read(self.root).train.images()[0]

    @parameterized.parameters(
        ("L", 128, (128, 128, 128)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (0, 0, 255, 255), BLUE),
        ("RGBA", (0, 0, 255, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (10, 255), (10, 10, 10)),
        ("I;16", 32768, (128, 128, 128)),
    )
    def test_modes(self, mode, value, expected):
        image = Image.new(mode, (8, 8), value)
        pixels = self.only_image("odd.png", image.save)
        self.assertAllEqual(pixels, np.broadcast_to(expected, (8, 8, 3)))

    @parameterized.parameters("odd.webp", "odd.tif", "odd.TIFF", "odd.jpg")
    def test_kinds(self, name):
        pixels = self.only_image(name, Image.new("RGB", (8, 8), (90, 90, 90)).save)
        self.assertAllClose(pixels, np.full((8, 8, 3), 90), atol=2)

    def test_palette(self):
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 0, 255, 0])
        pixels = self.only_image("odd.GIF", image.save)
        self.assertAllEqual(pixels, np.broadcast_to((0, 255, 0), (8, 8, 3)))

    def test_jpeg_in_cmyk(self):
        image = Image.new("CMYK", (8, 8), (255, 255, 0, 0))  # cyan and magenta: blue
        pixels = self.only_image("odd.jpeg", image.save)
        self.assertAllClose(pixels[4, 4], BLUE, atol=8)

    def test_orientation(self):
        def save_lying(path):
            image = Image.new("RGB", (8, 8), RED)
            image.paste(BLUE, (0, 0, 8, 4))  # the stored upper half
            exif = image.getexif()
            exif[0x0112] = 3  # "turn by 180 degrees to view"
            image.save(path, exif=exif)

        pixels = self.only_image("odd.png", save_lying)
        self.assertAllEqual(pixels[0, 0], RED)
        self.assertAllEqual(pixels[7, 7], BLUE)

    def test_scaling_averages(self):
        def save_halves(path):
            image = Image.new("L", (16, 8), 0)
            image.paste(200, (8, 0, 16, 8))
            image.save(path)

        for index in range(2):
            save(self.root / "test" / "a" / f"{index}.png")
        (self.root / "train" / "a").mkdir(parents=True)
        save_halves(self.root / "train" / "a" / "wide.png")
        image = read(self.root, image_size=2).train.images()[0]
        self.assertEqual(image.shape, (2, 2, 3))
        self.assertAllInRange(image[:, 0], 0, 40)
        self.assertAllInRange(image[:, 1], 160, 200)

    def refuses(self, *needles, **settings):
        with self.assertRaises(ValueError) as caught:
            read(self.root, **settings)
        for needle in (*needles, "Received: "):
            self.assertIn(needle, str(caught.exception))

    @parameterized.parameters(b"", b"no image at all", "cut", "cut png")
    def test_broken_file(self, content):
        self.save_classes(self.root)
        broken = self.root / "cat" / ("broken.png" if content == "cut png" else "broken.jpg")
        if isinstance(content, str):
            pixels = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(broken)
            content = broken.read_bytes()[:1500]
        broken.write_bytes(content)
        self.refuses(str(broken), "1 of 21", "Replace or remove them", image_size=8)

    def test_all_broken_files_are_named(self):
        self.save_classes(self.root, 15)
        for index in range(3, 15):
            for file in (f"cat/{index}.bmp", f"dog/{index}.png"):
                (self.root / file).write_bytes(b"broken")
        self.refuses("24 of 30 image files", str(self.root / "cat" / "7.bmp"), "... and 4 more")

    def test_missing_path(self):
        self.root = self.root / "nowhere"
        self.refuses("a folder that holds", "nowhere")

    def test_no_class_folders(self):
        save(self.root / "0.png")
        self.refuses("class folders")

    def test_empty_class(self):
        self.save_classes(self.root)
        (self.root / "bird").mkdir()
        self.refuses("bird", "in each class folder", "remove the folder")

    def test_train_without_test(self):
        self.save_classes(self.root / "train")
        self.refuses("a folder test beside train", str(self.root))

    def test_classes_differ(self):
        self.save_classes(self.root / "train", 2)
        self.save_classes(self.root / "test", 2)
        save(self.root / "test" / "bird" / "0.png")
        self.refuses("only one of them has bird")

    def test_sizes_differ(self):
        self.save_classes(self.root)
        save(self.root / "dog" / "large.png", size=(9, 9))
        self.refuses("different sizes", "large.png", "--image_size=32")
        self.assertEqual(read(self.root, image_size=8).train.images().shape[1:], (8, 8, 3))

    def test_a_class_of_one_image_is_named(self):
        self.save_classes(self.root)
        save(self.root / "clock" / "0.png")
        self.refuses("two examples of each class", "one image only of clock")

    def test_not_square(self):
        for index in range(5):
            save(self.root / "cat" / f"{index}.png", size=(8, 6))
        self.assertEqual(read(self.root).train.image_shape, (6, 8, 3))
        self.assertEqual(read(self.root, image_size=(3, 5)).train.images().shape, (4, 3, 5, 3))
        save(self.root / "cat" / "6.png", size=(6, 8))
        self.refuses("different sizes", "has 6x8 pixels, the first image 8x6")

    def test_grey_is_what_the_eye_sees(self):
        for index in range(5):
            save(self.root / "cat" / f"{index}.png", (100, 50, 200), size=(8, 6))
        dataset = read(self.root, grey=True, image_size=(6, 4))
        # 29.9 + 29.35 + 22.8
        self.assertAllEqual(dataset.train.images(), np.full((4, 6, 4, 1), 82))
        self.assertAllClose((dataset.mean, dataset.std), ([82 / 255], [1 / 255]))

    def test_too_few_images_to_hold_out(self):
        save(self.root / "cat" / "0.png")
        save(self.root / "dog" / "0.png")
        self.refuses("two examples of each class", "of cat, dog")
