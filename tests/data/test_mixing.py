"""Label smoothing and mixup by hand."""

import numpy as np
import tensorflow as tf

from ipkd_tf.data import mixing
from tests.data.test_augmentation import random_images


class SmoothedTest(tf.test.TestCase):
    def test_by_hand(self):
        self.assertAllClose(
            mixing.smoothed([2, 0], 4, 0.2), [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]
        )


class MixupTest(tf.test.TestCase):
    def test_images_and_labels_with_the_same_share(self):
        images, labels = random_images(6, 4, 5), np.eye(6, dtype=np.float32)
        for seed in range(20):
            mixed, mixed_labels = mixing.mixup(tf.constant(images), labels, 1.0, (seed, 0))
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
        shares = [mixing.mixup(images, labels, alpha, (seed, 1))[1][0, 0] for seed in range(500)]
        # Mean 1/2 and variance 1 / (4 (2 alpha + 1)), four standard errors around them.
        self.assertAllClose(np.mean(shares), 0.5, atol=4 * 0.42 / 500**0.5)
        self.assertAllClose(np.var(shares), 1 / (4 * (2 * alpha + 1)), atol=0.03)


if __name__ == "__main__":
    tf.test.main()
