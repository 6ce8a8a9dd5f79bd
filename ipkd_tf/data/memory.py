"""Holding images in memory: is there room, and filling one array with a progress bar."""

import sys

import keras
import numpy as np

MEMORY_LIMIT = 8 * 2**30  # bytes of uint8 pixels, training and test images together
_LONG = 5000  # images from which on decoding is worth a progress bar


def check_fits(name, examples, height, width):
    """Raises ValueError, before anything is decoded, if the images would not fit in memory."""
    size = examples * height * width * 3
    if size > MEMORY_LIMIT:
        raise ValueError(
            f"Data set {name!r} would take {size / 2**30:.1f} GiB of memory ({examples} images of "
            f"{height}x{width}x3 bytes); the limit is {MEMORY_LIMIT / 2**30:g} GiB. Make them "
            "smaller with --image_size or take fewer with --train_examples and --test_examples. "
            f"Received: name={name!r}"
        )


def collect(batches, examples, height, width):
    """Fills one uint8 array `[examples, height, width, 3]` from an iterable of image batches.

    May end early: returns only the part that was filled, so that the caller can say what is
    missing.
    """
    images = np.empty((examples, height, width, 3), np.uint8)
    watched = examples >= _LONG and sys.stdout.isatty()
    bar = keras.utils.Progbar(examples, unit_name="image") if watched else None
    filled = 0
    for batch in batches:
        images[filled : filled + len(batch)] = batch
        filled += len(batch)
        if bar:
            bar.update(filled)
    return images[:filled]
