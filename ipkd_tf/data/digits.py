"""scikit-learn's 1,797 handwritten digits: real images that need no download."""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from ipkd_tf.data import splits
from ipkd_tf.data.examples import Source
from ipkd_tf.data.pixels import Pixels

_TEST_EXAMPLES = 360  # a fifth
_LARGEST_VALUE = 16  # the source counts the dark pixels of 4x4 blocks


def open_digits(size=None, channels=3):
    """The digits: 1,437 training and 360 test images of 10 classes, their grey in each channel.

    The split is stratified and fixed. The 8x8 originals (E. Alpaydin, C. Kaynak, Optical
    Recognition of Handwritten Digits, UCI, 1998) are scaled to `size` (default 32, 32) by bicubic
    interpolation.
    """
    digits, shape = load_digits(), (*(size or (32, 32)), channels)
    labels = digits.target.astype(np.int32)
    train, test = splits.split(labels, _TEST_EXAMPLES)
    order = np.concatenate([train, test])
    images = _Scaled(digits.images[order], shape)
    return Source(
        tuple("0123456789"), labels[train], labels[test], images, "scikit-learn's load_digits"
    )


class _Scaled:
    """A source for `Examples` that scales at each call."""

    def __init__(self, images, shape):
        self.image_shape, self.scaled = shape, False
        self._images = images

    def __len__(self):
        return len(self._images)

    def read(self, rows, windows=None):
        images = _scale(self._images[rows], self.image_shape)
        return images if windows is None else Pixels(images).read(range(len(rows)), windows)


def _scale(images, shape):
    """Values 0..16 `[examples, 8, 8]` to uint8 `[examples, height, width, channels]`."""
    pixels = images[..., np.newaxis] * (255 / _LARGEST_VALUE)
    resized = tf.image.resize(pixels, shape[:2], method="bicubic", antialias=True)
    grey = np.clip(np.rint(resized.numpy()), 0, 255).astype(np.uint8)
    return np.repeat(grey, shape[-1], axis=-1)
