"""RandAugment: a few changes of each image, drawn from fourteen, all of one strength."""

import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from ipkd_tf.data import image_file

STRONGEST = 30  # magnitude
_SHIFT = (
    150 / 331
)  # of a side; the paper's 150 pixels of ImageNet images, the shares after it are its


def _affine(*matrix):
    """Nearest pixel, black around; the matrix leads from a place in the result to its source."""
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix)


def _enhance(kind):
    return lambda image, strength: kind(image).enhance(1 + 0.9 * strength)


# What each makes of an image with a strength from -1 to 1, where only some know two directions.
OPERATIONS = {
    "identity": lambda image, _: image,
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(4 * abs(s))),
    "solarize": lambda image, s: ImageOps.solarize(image, 256 - round(256 * abs(s))),
    "rotate": lambda image, s: image.rotate(30 * s),
    "shear_x": lambda image, s: _affine(1, 0.3 * s, 0, 0, 1, 0)(image),
    "shear_y": lambda image, s: _affine(1, 0, 0, 0.3 * s, 1, 0)(image),
    "translate_x": lambda image, s: _affine(1, 0, round(_SHIFT * s * image.width), 0, 1, 0)(image),
    "translate_y": lambda image, s: _affine(1, 0, 0, 0, 1, round(_SHIFT * s * image.height))(image),
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
}


def rand_augment(images, operations, magnitude, seed):
    """Changes each image by so many of the operations, drawn for it alone, one after another.

    `magnitude` is 0..30, as in torchvision; half of the operations go either way. Pillow does the
    work, as in the paper; Keras's RandAugment draws once for a whole batch, and equalizes by one
    histogram of all its images.

    Source: Cubuk et al., RandAugment: Practical automated data augmentation, 2020.
    """
    drawn = tf.random.stateless_uniform(
        (images.shape[0], operations), seed, 0, 2 * len(OPERATIONS), tf.int32
    )
    changed = tf.numpy_function(
        lambda *arrays: _apply(*arrays, magnitude / STRONGEST), [images, drawn], tf.uint8
    )
    changed.set_shape(images.shape)
    return changed


def _apply(images, drawn, strength):
    """By the numbers drawn `[batch, operations]`: twice an operation's, odd for the other way."""
    operations, changed = list(OPERATIONS.values()), np.empty_like(images)
    for place, (pixels, numbers) in enumerate(zip(images, drawn, strict=True)):
        image = image_file.from_pixels(pixels)
        for number in numbers:
            image = operations[number // 2](image, -strength if number % 2 else strength)
        changed[place] = np.asarray(image).reshape(pixels.shape)
    return changed
