"""Rotation against exact quarter turns and SciPy, cutout against its rectangle."""

from unittest import mock

import numpy as np
import scipy.ndimage
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.data import geometry
from tests.data.test_augmentation import random_images


def rotated(images, *angles):
    """Each image turned by its angle in degrees."""
    drawn = tf.constant(angles, tf.float32)
    with mock.patch.object(tf.random, "stateless_uniform", return_value=drawn):
        return geometry.rotate(tf.constant(images), 180, (0, 0)).numpy()


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
        result = geometry.rotate(white, 15, (1, 2)).numpy()
        lost = np.sum(result[..., 0] == 0, axis=(1, 2))
        self.assertGreater(len(set(lost)), 20)
        self.assertBetween(lost.max(), 98, 106)
        self.assertEqual(lost.min(), 0)

    def test_seed_decides(self):
        images = tf.constant(random_images(4, 16, 16))
        first = geometry.rotate(images, 30, (1, 2))
        self.assertAllEqual(first, geometry.rotate(images, 30, (1, 2)))
        self.assertNotAllEqual(first, geometry.rotate(images, 30, (1, 3)))


class CutOutTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((10, 14, 5), (9, 9, 4), (6, 6, 30))
    def test_one_square_as_far_as_inside(self, height, width, side):
        images = random_images(200, height, width)
        result = geometry.cut_out(tf.constant(images), side, (0, 1)).numpy()
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


if __name__ == "__main__":
    tf.test.main()
