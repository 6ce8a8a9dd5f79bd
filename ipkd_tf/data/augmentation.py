"""Random crops and flips, drawn per image from a stateless seed."""

import dataclasses

import tensorflow as tf

# Each transformation folds its own constant into the seed, so a new one changes no existing draw.
_CROP, _FLIP = 0, 1


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to a training batch; calling it is a pure function of (images, labels, seed).

    Attributes:
      crop_padding: pad every side with this many black pixels, then crop the original size at a
        random offset, another one for each image. 0 leaves it out.
      flip: mirror each image left to right with probability 1/2.

    Call arguments:
      images: uint8 `[batch, height, width, 3]` of static shape.
      labels: `[batch]`; passed on, so that transformations which mix labels have their place.
      seed: integer `[2]`, as TensorFlow's stateless random functions take it.

    Returns:
      `(images, labels)` of the same shapes and dtypes.

    Raises:
      ValueError: for a negative or fractional padding, or a flip that is not a boolean.

    Example:
      ```python
      crop_only = ipkd_tf.data.Augmentation(flip=False)
      train = ipkd_tf.data.training(images, labels, 64, seed=0, augmentation=crop_only)
      ```
    """

    crop_padding: int = 4
    flip: bool = True

    def __post_init__(self):
        padding = self.crop_padding
        if not isinstance(padding, int) or isinstance(padding, bool) or padding < 0:
            raise ValueError(
                "Crop padding must be a whole number of pixels, 0 for no cropping. "
                f"Received: crop_padding={padding!r}"
            )
        if not isinstance(self.flip, bool):
            raise ValueError(f"Flip must be True or False. Received: flip={self.flip!r}")

    def __call__(self, images, labels, seed):
        if not self.crop_padding and not self.flip:
            return images, labels
        batch, height, width, _ = images.shape
        rows = tf.tile(tf.range(height)[tf.newaxis], (batch, 1))
        columns = tf.tile(tf.range(width)[tf.newaxis], (batch, 1))
        if self.flip:
            columns = _mirrored(columns, tf.random.fold_in(seed, _FLIP))
        if self.crop_padding:
            images = _padded(images, self.crop_padding)
            top, left = _offsets(batch, self.crop_padding, tf.random.fold_in(seed, _CROP))
            rows, columns = rows + top, columns + left
        return _pixels(images, rows, columns), labels


def _mirrored(columns, seed):
    """Reverses the column indices `[batch, width]` of about half of the images."""
    flip = tf.random.stateless_uniform((columns.shape[0], 1), seed) < 0.5
    return tf.where(flip, tf.reverse(columns, axis=(1,)), columns)


def _offsets(batch, padding, seed):
    """Top and left offsets, int32 `[batch, 1]` each, uniform in 0..2*padding."""
    offsets = tf.random.stateless_uniform((batch, 2), seed, 0, 2 * padding + 1, tf.int32)
    return offsets[:, :1], offsets[:, 1:]


def _padded(images, padding):
    return tf.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def _pixels(images, rows, columns):
    """`result[b, y, x] = images[b, rows[b, y], columns[b, x]]` as one gather of whole pixels."""
    batch, height, width, channels = images.shape
    first = tf.range(batch)[:, tf.newaxis, tf.newaxis] * (height * width)
    indices = first + rows[:, :, tf.newaxis] * width + columns[:, tf.newaxis, :]
    return tf.gather(tf.reshape(images, (-1, channels)), indices)
