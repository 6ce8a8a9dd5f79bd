"""Random changes of training batches, drawn from a stateless seed."""

import dataclasses
import math
import numbers
import typing

import tensorflow as tf

from ipkd_tf.data.rand_augment import STRONGEST, rand_augment
from ipkd_tf.output.checks import check

# Each transformation folds its own constant into the seed, so a new one changes no existing draw.
_CROP, _FLIP, _ROTATION, _CUTOUT, _MIXUP, _WINDOW, _JITTER, _RAND_AUGMENT = range(8)
_ATTEMPTS = 10  # windows drawn of an image, of which the first that fits is taken
_GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in what the eye sees as brightness
_PIXELS = numbers.Integral, lambda value: value >= 0, "a whole number of pixels, 0 for none"
_NUMBERS = {
    "crop_padding": _PIXELS,
    "rand_augment": (numbers.Integral, lambda value: value >= 0, "a whole number of operations"),
    "rand_augment_magnitude": (
        *(numbers.Real, lambda value: 0 <= value <= STRONGEST),
        f"between 0 and {STRONGEST}",
    ),
    "cutout": _PIXELS,
    "rotation": (numbers.Real, lambda value: 0 <= value <= 180, "between 0 and 180 degrees"),
    "resized_crop": (numbers.Real, lambda value: 0 <= value <= 1, "a share from 0 to 1"),
    "jitter": (numbers.Real, lambda value: 0 <= value <= 1, "a strength from 0 to 1"),
    "mixup": (numbers.Real, lambda value: value >= 0, "a number from 0 on"),
    "label_smoothing": (numbers.Real, lambda value: 0 <= value < 1, "at least 0 and below 1"),
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to a training batch; calling it is a pure function of (images, labels, seed).

    Attributes, in the order in which they are applied; 0 leaves one out:
        crop_padding: Pad every side with this many black pixels, then crop the original size at a
            random offset, another one for each image.
        flip: Mirror each image left to right with probability 1/2.
        rotation: Turn each image by a random angle of up to this many degrees either way; nearest
            pixel, black corners, as pytorch-cifar100's RandomRotation.
        cutout: Blacken a square of this side in pixels around a random pixel of each image, as far
            as it lies inside (DeVries & Taylor 2017).
        mixup: Alpha of Beta(alpha, alpha), from which the share is drawn with which each image and
            label of a batch is mixed with another's (Zhang et al. 2018).
        label_smoothing: Share of the label that is spread evenly over all classes (Szegedy et al.
            2016, section 7).
        num_classes: Number of classes; needed by mixup and label_smoothing alone.
        resized_crop: Take, of each image, a random window with at least this share of its area, 3/4
            to 4/3 as wide as high, and scale it to the size of all; 0.08 is usual for photographs.
            It happens first, where images are read: of files before they are scaled down.
        jitter: Strength, such as 0.4, of random changes of each image's brightness, contrast and
            saturation, one after another: factors from 1 - jitter to 1 + jitter. After rotation.
        rand_augment: Operations of RandAugment on each image, such as 2, drawn anew for each from
            fourteen (Cubuk et al. 2020; `data.rand_augment`). After jitter.
        rand_augment_magnitude: How strong they are, from 0 to 30.

    Call arguments:
        images: uint8 `[batch, height, width, 1 or 3]` of static shape.
        labels: int32 `[batch]`.
        seed: Integer `[2]`, as TensorFlow's stateless random functions take it.

    Returns:
        `(images, labels)` of the same shapes and dtypes; with mixup or label smoothing, labels are
        float32 probabilities `[batch, num_classes]`.

    Raises:
        ValueError: A setting of the wrong type or outside its range, named in the message.

    Example:
        >>> crop_only = ipkd_tf.data.Augmentation(flip=False)
        >>> train = ipkd_tf.data.training(images, labels, 64, seed=0, augmentation=crop_only)
    """

    crop_padding: int = 4
    flip: bool = True
    rotation: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    label_smoothing: float = 0.0
    num_classes: int | None = None
    resized_crop: float = 0.0
    jitter: float = 0.0
    rand_augment: int = 0
    rand_augment_magnitude: float = 9.0

    def __post_init__(self):
        check(isinstance(self.flip, bool), "True or False", flip=self.flip)
        for name, (kind, fits, expected) in _NUMBERS.items():
            value = getattr(self, name)
            number = isinstance(value, kind) and not isinstance(value, bool)
            check(number and fits(value), expected, **{name: value})
        known = self.num_classes or not self._changes_labels
        expected = "the number of classes, for mixup and label smoothing"
        check(known, expected, num_classes=self.num_classes)

    @property
    def _changes_labels(self):
        return self.mixup > 0 or self.label_smoothing > 0

    def draw_windows(self, batch_size: int, seed: typing.Any) -> tf.Tensor | None:
        """What `Examples.gather` takes as windows; None for the whole of each image."""
        if not self.resized_crop:
            return None
        seed = tf.random.fold_in(seed, _WINDOW)
        numbers = tf.random.stateless_uniform((batch_size, _ATTEMPTS, 4), seed)
        area, ratio, x, y = tf.unstack(numbers, axis=2)
        area = self.resized_crop + (1 - self.resized_crop) * area
        return tf.stack([area, (4 / 3) ** (2 * ratio - 1), x, y], axis=2)

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, seed: typing.Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if self.crop_padding or self.flip:
            crop, flip = (tf.random.fold_in(seed, constant) for constant in (_CROP, _FLIP))
            images = crop_and_flip(images, self.crop_padding, crop, flip if self.flip else None)
        if self.rotation:
            images = rotate(images, self.rotation, tf.random.fold_in(seed, _ROTATION))
        if self.jitter:
            images = jitter(images, self.jitter, tf.random.fold_in(seed, _JITTER))
        if self.rand_augment:
            settings = self.rand_augment, self.rand_augment_magnitude
            images = rand_augment(images, *settings, tf.random.fold_in(seed, _RAND_AUGMENT))
        if self.cutout:
            images = cut_out(images, self.cutout, tf.random.fold_in(seed, _CUTOUT))
        if self._changes_labels:
            labels = smooth(labels, self.num_classes, self.label_smoothing)
        if self.mixup:
            seed = tf.random.fold_in(seed, _MIXUP)
            images, labels = mixup(images, labels, self.mixup, seed)
        return images, labels


def crop_and_flip(images, padding, crop_seed, flip_seed):
    """Crops from the padded image and mirrors, as one gather of whole pixels.

    `padding` 0 means no crop, `flip_seed` None no flip.
    """
    batch, height, width, channels = images.shape
    rows = tf.tile(tf.range(height)[tf.newaxis], (batch, 1))
    columns = tf.tile(tf.range(width)[tf.newaxis], (batch, 1))
    if flip_seed is not None:
        flip = tf.random.stateless_uniform((batch, 1), flip_seed) < 0.5
        columns = tf.where(flip, tf.reverse(columns, axis=(1,)), columns)
    if padding:
        images = tf.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        height, width = height + 2 * padding, width + 2 * padding
        offsets = (batch, 2), crop_seed, 0, 2 * padding + 1, tf.int32
        top, left = tf.split(tf.random.stateless_uniform(*offsets), 2, axis=1)
        rows, columns = rows + top, columns + left
    first = tf.range(batch)[:, tf.newaxis, tf.newaxis] * (height * width)
    indices = first + rows[:, :, tf.newaxis] * width + columns[:, tf.newaxis, :]
    return tf.gather(tf.reshape(images, (-1, channels)), indices)


def rotate(images, degrees, seed):
    """Turns each image about its centre by an angle uniform in -degrees..degrees."""
    batch, height, width, _ = images.shape
    angle = tf.random.stateless_uniform((batch,), seed, -degrees, degrees) * (math.pi / 180)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    zeros = tf.zeros_like(angle)
    # Where output pixel (x', y') comes from: x = t0 x' + t1 y' + t2, y = t3 x' + t4 y' + t5.
    rows = [cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([*rows, zeros, zeros], axis=1),
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )


def jitter(images, strength, seed):
    """Multiplies each image's brightness, contrast and saturation by factors near 1, in turn.

    Source: torchvision's ColorJitter, in a fixed order.
    """
    factors = tf.random.stateless_uniform(
        (3, images.shape[0], 1, 1, 1), seed, 1 - strength, 1 + strength
    )
    brightness, contrast, saturation = tf.unstack(factors)

    def grey(pixels):
        return tf.reduce_sum(pixels * _GREY, axis=-1, keepdims=True)

    def blend(factor, pixels, other):
        return tf.clip_by_value(other + factor * (pixels - other), 0.0, 255.0)

    pixels = blend(brightness, tf.cast(images, tf.float32), 0.0)
    pixels = blend(contrast, pixels, tf.reduce_mean(grey(pixels), axis=(1, 2), keepdims=True))
    pixels = blend(saturation, pixels, grey(pixels))
    return tf.cast(tf.round(pixels), images.dtype)


def cut_out(images, side, seed):
    """Blackens the square of `side` pixels around a random pixel, as far as it lies inside."""
    batch, height, width, _ = images.shape
    rows_seed, columns_seed = tf.unstack(tf.random.split(seed))
    rows = _outside(batch, height, side, rows_seed)[:, :, tf.newaxis]
    columns = _outside(batch, width, side, columns_seed)[:, tf.newaxis]
    kept = tf.cast(rows | columns, images.dtype)
    return images * kept[..., tf.newaxis]


def _outside(batch, length, side, seed):
    """Which of `length` places lie outside a stretch around a random one, bool [batch, length]."""
    centre = tf.random.stateless_uniform((batch, 1), seed, 0, length, tf.int32)
    distance = tf.range(length)[tf.newaxis] - (centre - side // 2)
    return (distance < 0) | (distance >= side)


def smooth(labels, num_classes, share):
    """Labels `[batch]` as float32 `[batch, num_classes]`, a share of each spread over all."""
    return tf.one_hot(labels, num_classes) * (1 - share) + share / num_classes


def mixup(images, labels, alpha, seed):
    """Mixes each image and label with that at the mirrored position in the batch, by one share.

    Batches come in random order, so this is a random partner. Mixed pixels are rounded.
    """
    one, other = tf.unstack(tf.random.stateless_gamma((2,), seed, alpha))
    share = tf.math.divide_no_nan(one, one + other)  # of Beta(alpha, alpha)

    def mix(values):
        return share * values + (1 - share) * tf.reverse(values, axis=(0,))

    return tf.cast(tf.round(mix(tf.cast(images, tf.float32))), images.dtype), mix(labels)
