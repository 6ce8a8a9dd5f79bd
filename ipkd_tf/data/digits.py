"""scikit-learn's 1,797 handwritten digits: real images that need no download."""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from ipkd_tf.data import splits
from ipkd_tf.data.examples import Examples, ImageDataset, mean_and_std

_TEST_EXAMPLES = 360  # a fifth
_LARGEST_VALUE = 16  # the source counts the dark pixels of 4x4 blocks
_SOURCE = "scikit-learn's load_digits: 1,797 images, 360 of them for tests"


def read(image_size=None, train_examples=None, test_examples=None, seed=0):
    """Reads the digits: 1,437 training and 360 test images of 10 classes, grey in three channels.

    The split is stratified and fixed; it depends on no seed. The 8x8 originals are scaled to
    `image_size` (default 32) by bicubic interpolation.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    digits = load_digits()
    labels = digits.target.astype(np.int32)
    train, test = splits.split(labels, _TEST_EXAMPLES)
    train = train[splits.subset(labels[train], train_examples, "train_examples", seed)]
    test = test[splits.subset(labels[test], test_examples, "test_examples", seed)]
    whole = Examples(_scale(digits.images, image_size or 32), labels)
    return ImageDataset(
        "digits",
        whole.subset(train),
        whole.subset(test),
        tuple("0123456789"),
        *mean_and_std(whole.subset(train)),
        source=_SOURCE,
    )


def _scale(images, image_size):
    """Values 0..16 `[examples, 8, 8]` to uint8 `[examples, image_size, image_size, 3]`."""
    pixels = images[..., np.newaxis] * (255 / _LARGEST_VALUE)
    resized = tf.image.resize(pixels, (image_size, image_size), method="bicubic", antialias=True)
    grey = np.clip(np.rint(resized.numpy()), 0, 255).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)
