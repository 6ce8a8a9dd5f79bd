"""Crop and flip against every slow pad-crop-flip that could have made the image; rotation against
exact quarter turns and SciPy, cutout against its rectangle; smoothing and mixup by hand."""

import dataclasses
import itertools
from unittest import mock

import numpy as np
import scipy.ndimage
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.data import Augmentation, augmentation


def random_images(number, height, width):
    return np.random.RandomState(0).randint(1, 256, (number, height, width, 3)).astype(np.uint8)


def augmented(augmentation, images, seed=(0, 0)):
    labels = tf.range(len(images))
    result, same_labels = augmentation(tf.constant(images), labels, tf.constant(seed, tf.int64))
    np.testing.assert_array_equal(same_labels, labels)
    return result.numpy()


def explanations(original, result, padding):
    """All (top, left, flipped) for which padding, cropping and flipping gives `result`."""
    height, width, _ = original.shape
    padded = np.pad(original, ((padding, padding), (padding, padding), (0, 0)))
    found = []
    for top, left in itertools.product(range(2 * padding + 1), repeat=2):
        crop = padded[top : top + height, left : left + width]
        found += [(top, left, False)] * np.array_equal(crop, result)
        found += [(top, left, True)] * np.array_equal(crop[:, ::-1], result)
    return found


class AugmentationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((32, 32, 4, True), (9, 14, 3, True), (16, 16, 4, False))
    def test_each_image_is_one_padded_crop_possibly_flipped(self, height, width, padding, flip):
        images = random_images(48, height, width)
        result = augmented(Augmentation(padding, flip), images)
        drawn = [explanations(a, b, padding) for a, b in zip(images, result, strict=True)]
        self.assertEqual([len(found) for found in drawn], [1] * len(images))
        tops, lefts, flips = zip(*(found[0] for found in drawn), strict=True)
        self.assertGreater(len(set(zip(tops, lefts, strict=True))), 20)
        self.assertEqual(set(flips), {True, False} if flip else {False})

    def test_flip_without_crop(self):
        images = random_images(32, 8, 6)
        result = augmented(Augmentation(crop_padding=0), images)
        flips = [explanations(a, b, 0)[0][2] for a, b in zip(images, result, strict=True)]
        self.assertEqual(set(flips), {True, False})

    def test_offsets_and_flips_are_uniform(self):
        images = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
        images = np.tile(images, (3600, 1, 1, 3))
        result = augmented(Augmentation(crop_padding=1), images)
        seen, counts = np.unique(result.reshape(3600, -1), axis=0, return_counts=True)
        self.assertLen(seen, 9 * 2)
        # 200 of each expected; the standard deviation of a count is 14.
        self.assertAllInRange(counts, 200 - 5 * 14, 200 + 5 * 14)

    def test_switched_off_it_adds_nothing(self):
        images, labels = tf.zeros((2, 4, 4, 3), tf.uint8), tf.range(2)
        result = Augmentation(crop_padding=0, flip=False)(images, labels, seed=(0, 0))
        self.assertIs(result[0], images)
        self.assertIs(result[1], labels)

    def test_seed_decides(self):
        images = random_images(16, 8, 8)
        first = augmented(Augmentation(), images, seed=(1, 2))
        self.assertAllEqual(first, augmented(Augmentation(), images, seed=(1, 2)))
        self.assertNotAllEqual(first, augmented(Augmentation(), images, seed=(1, 3)))
        self.assertNotAllEqual(first, augmented(Augmentation(), images, seed=(2, 2)))

    def test_cropping_does_not_depend_on_flipping(self):
        images = random_images(16, 8, 8)
        images = np.concatenate([images, images[:, :, ::-1]], axis=2)  # symmetric: flip unseen
        padding = 2
        plain = augmented(Augmentation(padding, flip=False), images)
        flipped = augmented(Augmentation(padding, flip=True), images)
        tops = [
            [explanations(i, r, padding)[0][0] for i, r in zip(images, result, strict=True)]
            for result in (plain, flipped)
        ]
        self.assertEqual(tops[0], tops[1])

    def test_new_transformations_leave_the_draws_of_the_others_alone(self):
        images = random_images(8, 12, 12)
        plain = augmented(Augmentation(), images)
        cut = augmented(Augmentation(cutout=3), images)
        self.assertTrue(np.all((cut == plain) | (cut == 0)))
        turned = augmented(Augmentation(rotation=1e-3), images)
        self.assertAllEqual(turned, plain)

    def test_order_of_all(self):
        images, labels = tf.constant(random_images(8, 12, 12)), tf.range(8)
        seed = tf.constant((3, 4), tf.int64)
        every = Augmentation(rotation=20, cutout=4, mixup=0.5, label_smoothing=0.1, num_classes=8)
        changed, mixed = every(images, labels, seed)
        geometry_alone = dataclasses.replace(every, mixup=0.0, label_smoothing=0.0)
        expected, _ = geometry_alone(images, labels, seed)
        share = (mixed[0, 0] - 0.1 / 8) / 0.9
        both = share * tf.cast(expected[0], tf.float32) + (1 - share) * tf.cast(
            expected[7], tf.float32
        )
        self.assertAllClose(tf.cast(changed[0], tf.float32), both, atol=0.5001)
        self.assertAllClose(mixed[0, 7], (1 - share) * 0.9 + 0.1 / 8)

    def test_labels_without_mixing_stay_as_they_are(self):
        labels = tf.range(4)
        _, same = Augmentation(num_classes=4)(tf.zeros((4, 8, 8, 3), tf.uint8), labels, (0, 0))
        self.assertIs(same, labels)

    @parameterized.parameters(-1, 1.5, True, "4")
    def test_refuses_pixels(self, value):
        for name in ("crop_padding", "cutout"):
            with self.assertRaisesRegex(ValueError, f"pixels.*Received: {name}={value!r}"):
                Augmentation(**{name: value})

    @parameterized.parameters(
        ("flip", 1), ("rotation", 181), ("rotation", -1.0), ("mixup", -0.1), ("mixup", "1"),
        ("label_smoothing", 1.0), ("label_smoothing", -0.1), ("label_smoothing", True),
    )  # fmt: skip
    def test_refuses(self, name, value):
        with self.assertRaisesRegex(ValueError, f"Received: {name}={value!r}"):
            Augmentation(**{name: value, "num_classes": 3})

    @parameterized.parameters("mixup", "label_smoothing")
    def test_mixed_labels_need_the_number_of_classes(self, name):
        with self.assertRaisesRegex(ValueError, "Received: num_classes=None"):
            Augmentation(**{name: 0.1})


def rotated(images, *angles):
    """Each image turned by its angle in degrees."""
    drawn = tf.constant(angles, tf.float32)
    with mock.patch.object(tf.random, "stateless_uniform", return_value=drawn):
        return augmentation.rotate(tf.constant(images), 180, (0, 0)).numpy()


class RotateTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(7, 8)
    def test_quarter_turns(self, side):
        images = random_images(4, side, side)
        result = rotated(images, 0, 90, 180, -90)
        for turns, image, turned in zip((0, 1, 2, 3), images, result, strict=True):
            self.assertAllEqual(turned, np.rot90(image, turns))

    @parameterized.parameters(15, -7.5, 40)
    def test_another_implementation(self, angle):
        image = random_images(1, 33, 33)
        expected = scipy.ndimage.rotate(image[0], angle, reshape=False, order=0)
        result = rotated(image, angle)[0]
        black = np.all(result == 0, axis=-1), np.all(expected == 0, axis=-1)
        different = np.any(result != expected, axis=-1)
        self.assertLess(np.mean(different & ~black[0] & ~black[1]), 0.002)  # half way between two
        # SciPy takes no pixel from less than one place outside, this one from less than a half.
        self.assertLess(np.mean(black[0] != black[1]), 0.04)

    def test_angles_fill_the_range_and_differ(self):
        # A square and itself turned by a share 2 / (1 + sin a + cos a) of its area: 15 degrees lose
        # 103 of the 1024 pixels.
        white = tf.fill((400, 32, 32, 3), np.uint8(255))
        result = augmentation.rotate(white, 15, (1, 2)).numpy()
        lost = np.sum(result[..., 0] == 0, axis=(1, 2))
        self.assertGreater(len(set(lost)), 20)
        self.assertBetween(lost.max(), 98, 106)
        self.assertEqual(lost.min(), 0)

    def test_seed_decides(self):
        images = tf.constant(random_images(4, 16, 16))
        first = augmentation.rotate(images, 30, (1, 2))
        self.assertAllEqual(first, augmentation.rotate(images, 30, (1, 2)))
        self.assertNotAllEqual(first, augmentation.rotate(images, 30, (1, 3)))


class CutOutTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((10, 14, 5), (9, 9, 4), (6, 6, 30))
    def test_one_square_as_far_as_inside(self, height, width, side):
        images = random_images(200, height, width)
        result = augmentation.cut_out(tf.constant(images), side, (0, 1)).numpy()
        sizes = set()
        for image, cut in zip(images, result, strict=True):
            black = np.all(cut == 0, axis=-1)
            self.assertAllEqual(cut[~black], image[~black])
            rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
            self.assertTrue(black[np.ix_(rows, columns)].all())
            self.assertEqual(black.sum(), len(rows) * len(columns))
            for places, length in ((rows, height), (columns, width)):
                self.assertAllEqual(np.diff(places), np.ones(len(places) - 1))
                if places[0] > 0 and places[-1] < length - 1:
                    self.assertLen(places, side)
                self.assertBetween(len(places), min(side, length) // 2, side)
            sizes.add(black.sum())
        self.assertEqual(max(sizes), min(side, height) * min(side, width))
        self.assertEqual(len(sizes) > 1, side < 30)


class SmoothTest(tf.test.TestCase):
    def test_by_hand(self):
        self.assertAllClose(
            augmentation.smooth([2, 0], 4, 0.2),
            [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]],
        )


class MixupTest(tf.test.TestCase):
    def test_images_and_labels_with_the_same_share(self):
        images, labels = random_images(6, 4, 5), np.eye(6, dtype=np.float32)
        for seed in range(20):
            mixed, mixed_labels = augmentation.mixup(tf.constant(images), labels, 1.0, (seed, 0))
            share = mixed_labels.numpy()[0, 0]
            self.assertAllClose(mixed_labels.numpy()[0, 5], 1 - share)
            self.assertAllClose(tf.reduce_sum(mixed_labels, 1), np.ones(6))
            expected = share * images + (1 - share) * images[::-1].astype(np.float64)
            self.assertAllClose(mixed, np.round(expected), atol=1)
            self.assertLess(np.mean(mixed != np.round(expected)), 0.01)
            self.assertDTypeEqual(mixed, np.uint8)

    def test_shares_are_of_the_beta_distribution(self):
        alpha = 0.2
        labels = tf.eye(2)
        images = tf.zeros((2, 1, 1, 3), tf.uint8)
        shares = [
            augmentation.mixup(images, labels, alpha, (seed, 1))[1][0, 0] for seed in range(500)
        ]
        # Mean 1/2 and variance 1 / (4 (2 alpha + 1)), four standard errors around them.
        self.assertAllClose(np.mean(shares), 0.5, atol=4 * 0.42 / 500**0.5)
        self.assertAllClose(np.var(shares), 1 / (4 * (2 * alpha + 1)), atol=0.03)


class WindowsTest(tf.test.TestCase, parameterized.TestCase):
    def test_ranges(self):
        windows = Augmentation(resized_crop=0.25).draw_windows(500, (0, 7)).numpy()
        self.assertEqual(windows.shape, (500, 10, 4))
        low, high = (0.25, 0.75, 0, 0), (1, 4 / 3, 1, 1)
        for numbers, least, most in zip(np.moveaxis(windows, 2, 0), low, high, strict=True):
            self.assertAllInRange(numbers, least - 1e-6, most + 1e-6)
            self.assertLess(numbers.min(), least + 0.01)
            self.assertGreater(numbers.max(), most - 0.01)
        self.assertIsNone(Augmentation().draw_windows(3, (0, 7)))

    @parameterized.parameters("resized_crop", "jitter")
    def test_refuses(self, name):
        for value in (-0.1, 1.1, True, "1"):
            with self.assertRaisesRegex(ValueError, f"Received: {name}={value!r}"):
                Augmentation(**{name: value})


class JitterTest(tf.test.TestCase):
    def by_factors(self, image, brightness, contrast, saturation):
        factors = np.float32([brightness, contrast, saturation]).reshape(3, 1, 1, 1, 1)
        with mock.patch.object(tf.random, "stateless_uniform", return_value=tf.constant(factors)):
            return augmentation.jitter(tf.constant([image], tf.uint8), 0.5, (0, 0))[0]

    def test_by_hand(self):
        image = [[[100, 50, 200], [20, 20, 20]]]
        self.assertAllEqual(self.by_factors(image, 1, 1, 1), image)
        self.assertAllEqual(self.by_factors(image, 1.5, 1, 1), [[[150, 75, 255], [30, 30, 30]]])
        # Grey: 29.9 + 29.35 + 22.8 = 82.05 and 20; their mean 51.025.
        self.assertAllEqual(self.by_factors(image, 1, 0.5, 1), [[[76, 51, 126], [36, 36, 36]]])
        self.assertAllEqual(self.by_factors(image, 1, 1, 0.5), [[[91, 66, 141], [20, 20, 20]]])

    def test_each_image_by_its_own_factors(self):
        images = tf.fill((50, 2, 2, 3), np.uint8(100))
        levels = augmentation.jitter(images, 0.4, (1, 2))[:, 0, 0, 0].numpy()
        self.assertGreater(len(set(levels)), 20)
        self.assertAllInRange(levels, 60, 140)
        self.assertAllEqual(levels, augmentation.jitter(images, 0.4, (1, 2))[:, 0, 0, 0])
