"""Random changes of training batches, drawn from a stateless seed."""

import dataclasses
import numbers

import tensorflow as tf

from ipkd_tf.data import geometry, mixing

# Each transformation folds its own constant into the seed, so a new one changes no existing draw.
_CROP, _FLIP, _ROTATION, _CUTOUT, _MIXUP = range(5)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to a training batch; calling it is a pure function of (images, labels, seed).

    Attributes, in the order in which they are applied:
      crop_padding: pad every side with this many black pixels, then crop the original size at a
        random offset, another one for each image. 0 leaves it out.
      flip: mirror each image left to right with probability 1/2.
      rotation: turn each image by a random angle of up to this many degrees either way; nearest
        pixel, black corners, as pytorch-cifar100's RandomRotation. 0 leaves it out.
      cutout: blacken a square of this side in pixels around a random pixel of each image, as far
        as it lies inside (DeVries & Taylor 2017). 0 leaves it out.
      mixup: alpha of Beta(alpha, alpha), from which the share is drawn with which each image and
        label of a batch is mixed with another's (Zhang et al. 2018). 0 leaves it out.
      label_smoothing: share of the label that is spread evenly over all classes (Szegedy et al.
        2016).
      num_classes: number of classes; needed by mixup and label_smoothing alone.

    Call arguments:
      images: uint8 `[batch, height, width, 3]` of static shape.
      labels: int32 `[batch]`.
      seed: integer `[2]`, as TensorFlow's stateless random functions take it.

    Returns:
      `(images, labels)` of the same shapes and dtypes; with mixup or label smoothing, labels are
      float32 probabilities `[batch, num_classes]`.

    Raises:
      ValueError: for a setting of the wrong type or outside its range, named in the message.

    Example:
      ```python
      crop_only = ipkd_tf.data.Augmentation(flip=False)
      train = ipkd_tf.data.training(images, labels, 64, seed=0, augmentation=crop_only)
      ```
    """

    crop_padding: int = 4
    flip: bool = True
    rotation: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    label_smoothing: float = 0.0
    num_classes: int | None = None

    def __post_init__(self):
        pixels = "a whole number of pixels, 0 to leave it out"
        _check(self, "crop_padding", numbers.Integral, lambda value: value >= 0, pixels)
        _check(self, "cutout", numbers.Integral, lambda value: value >= 0, pixels)
        if not isinstance(self.flip, bool):
            raise ValueError(f"Flip must be True or False. Received: flip={self.flip!r}")
        degrees = "between 0 and 180 degrees"
        _check(self, "rotation", numbers.Real, lambda value: 0 <= value <= 180, degrees)
        _check(self, "mixup", numbers.Real, lambda value: value >= 0, "a number from 0 on")
        share = "at least 0 and below 1"
        _check(self, "label_smoothing", numbers.Real, lambda value: 0 <= value < 1, share)
        if self._changes_labels and not self.num_classes:
            raise ValueError(
                "Mixup and label smoothing need the number of classes. "
                f"Received: num_classes={self.num_classes!r}"
            )

    @property
    def _changes_labels(self):
        return self.mixup > 0 or self.label_smoothing > 0

    def __call__(self, images, labels, seed):
        if self.crop_padding or self.flip:
            crop, flip = (tf.random.fold_in(seed, constant) for constant in (_CROP, _FLIP))
            images = geometry.crop_and_flip(
                images, self.crop_padding, crop, flip if self.flip else None
            )
        if self.rotation:
            images = geometry.rotate(images, self.rotation, tf.random.fold_in(seed, _ROTATION))
        if self.cutout:
            images = geometry.cut_out(images, self.cutout, tf.random.fold_in(seed, _CUTOUT))
        if self._changes_labels:
            labels = mixing.smoothed(labels, self.num_classes, self.label_smoothing)
        if self.mixup:
            seed = tf.random.fold_in(seed, _MIXUP)
            images, labels = mixing.mixup(images, labels, self.mixup, seed)
        return images, labels


def _check(augmentation, name, kind, fits, expected):
    value = getattr(augmentation, name)
    if not isinstance(value, kind) or isinstance(value, bool) or not fits(value):
        raise ValueError(f"Expected {expected}. Received: {name}={value!r}")
