"""Each operation of RandAugment on pixels worked by hand; what is drawn, and for whom."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from ipkd_tf import data
from ipkd_tf.data import rand_augment
from tests.data.test_augmentation import augmented, random_images


def operate(name, strength, pixels):
    image = Image.fromarray(np.uint8(pixels))
    return np.asarray(rand_augment.OPERATIONS[name](image, strength)).tolist()


class OperationsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("identity", 1, [[3, 200]], [[3, 200]]),
        ("posterize", 1, [[0xAB, 0x0F]], [[0xA0, 0]]),  # 4 of 8 bits
        ("posterize", -0.3, [[171, 2]], [[170, 2]]),  # 7 bits: 1.2 less, rounded
        ("solarize", 0.5, [[127, 128, 200]], [[127, 127, 55]]),  # from 128 on 255 - value
        ("solarize", 0, [[0, 255]], [[0, 255]]),
        ("autocontrast", 1, [[50, 100, 150]], [[0, 127, 255]]),
        ("brightness", 1, [[100, 200]], [[190, 255]]),  # 1.9 times
        ("brightness", -1, [[100, 200]], [[10, 20]]),
        ("contrast", -1, [[100, 200]], [[145, 155]]),  # a tenth of the distance from their mean
        ("translate_x", 1, [[*range(1, 11)]], [[6, 7, 8, 9, 10, 0, 0, 0, 0, 0]]),  # 4.5 to 5
        ("translate_x", -0.5, [[*range(1, 11)]], [[0, 0, *range(1, 9)]]),  # 2.3 to 2
        ("translate_y", 1, [[1], [2], [3], [4]], [[3], [4], [0], [0]]),  # 1.8 to 2
        ("rotate", 3, [[1, 2], [3, 4]], [[2, 4], [1, 3]]),  # 30 degrees, three times
        # The grey of (100, 50, 200) is 29.9 + 29.35 + 22.8 = 82.
        ("color", -1, [[[100, 50, 200]]], [[[83, 78, 93]]]),
        ("color", -1, [[100, 50]], [[100, 50]]),
    )
    def test_by_hand(self, name, strength, pixels, expected):
        self.assertEqual(operate(name, strength, pixels), expected)

    def test_shears_by_three_tenths(self):
        rows = np.tile(np.arange(1, 9), (6, 1))
        # The middle of row y moves by 0.3 (y + 1/2): 0.15, 0.45, 0.75, 1.05, 1.35, 1.65.
        expected = np.zeros_like(rows)
        for row, shift in enumerate((0, 0, 1, 1, 1, 2)):
            expected[row, : 8 - shift] = rows[row, shift:]
        self.assertEqual(operate("shear_x", 1, rows), expected.tolist())
        self.assertEqual(operate("shear_y", 1, rows.T), expected.T.tolist())

    def test_sharpness_blends_with_a_smooth_image(self):
        point = np.zeros((5, 5))
        point[2, 2] = 130  # smoothed: 5/13 of it, and 1/13 around
        expected = np.zeros((5, 5))
        expected[1:4, 1:4] = 9
        expected[2, 2] = 58
        self.assertEqual(operate("sharpness", -1, point), expected.tolist())

    def test_equalize_spreads_the_levels(self):
        halves = np.repeat([[10, 20]], 255, axis=0)
        self.assertEqual(operate("equalize", 1, halves), np.where(halves == 10, 0, 255).tolist())


class RandAugmentTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(3, 1)
    def test_operations_one_after_another_for_each_image_its_own(self, channels):
        images = random_images(3, 6, 8)[..., :channels]
        names = list(rand_augment.OPERATIONS)
        drawn = [["rotate", "posterize"], ["shear_x", "solarize"], ["identity", "color"]]
        numbers = [[2 * names.index(name) + odd for odd, name in enumerate(row)] for row in drawn]
        with mock.patch.object(
            tf.random, "stateless_uniform", return_value=tf.constant(numbers, tf.int32)
        ):
            result = rand_augment.rand_augment(tf.constant(images), 2, 12, (0, 0))
        for image, changed, (first, second) in zip(images, result.numpy(), drawn, strict=True):
            expected = operate(second, -0.4, operate(first, 0.4, image.squeeze()))
            self.assertAllEqual(changed.squeeze(), expected)

    def test_every_operation_both_ways_is_as_likely(self):
        seen = []

        def note(images, drawn, strength):
            seen.append(drawn)
            return images

        images = tf.zeros((7000, 1, 1, 3), tf.uint8)
        with mock.patch.object(rand_augment, "_apply", note):
            rand_augment.rand_augment(images, 2, 9, (3, 4))
        counts = np.bincount(seen[0].ravel(), minlength=28)
        # 500 of each expected; the standard deviation of a count is 22.
        self.assertLen(counts, 28)
        self.assertAllInRange(counts, 500 - 5 * 22, 500 + 5 * 22)

    def test_seed_decides_and_other_draws_stay(self):
        images = random_images(16, 8, 8)
        every = data.Augmentation(rand_augment=2, rand_augment_magnitude=20)
        first = augmented(every, images, (1, 2))
        self.assertAllEqual(first, augmented(every, images, (1, 2)))
        self.assertNotAllEqual(first, augmented(every, images, (1, 3)))
        with mock.patch.object(rand_augment, "_apply", lambda images, *_: images):
            unchanged = augmented(every, images, (1, 2))
        self.assertAllEqual(unchanged, augmented(data.Augmentation(), images, (1, 2)))

    def test_batches_are_functions_of_seed_and_step(self):
        images, labels = random_images(20, 8, 8), np.arange(20, dtype=np.int32)
        settings = {"seed": 5, "augmentation": data.Augmentation(rand_augment=2)}
        batches = data.training(images, labels, 8, **settings)
        for later, whole in zip(
            data.training(images, labels, 8, start_step=3, **settings).take(2),
            batches.skip(3).take(2),
            strict=True,
        ):
            self.assertAllEqual(later[0], whole[0])
            self.assertAllEqual(later[1], whole[1])

    @parameterized.parameters(
        ("rand_augment", -1), ("rand_augment", 1.5), ("rand_augment_magnitude", 31),
        ("rand_augment_magnitude", "9"),
    )  # fmt: skip
    def test_refuses(self, name, value):
        with self.assertRaisesRegex(ValueError, f"Received: {name}={value!r}"):
            data.Augmentation(**{name: value})
