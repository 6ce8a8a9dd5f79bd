"""Crop, flip, rotation and cutout of a batch, each image with draws of its own."""

import math

import tensorflow as tf


def crop_and_flip(images, padding, crop_seed, flip_seed):
    """Crops from the padded image and mirrors, as one gather of whole pixels.

    Args:
      images: uint8 `[batch, height, width, 3]` of static shape.
      padding: black pixels on each side before the crop; 0 for no crop.
      crop_seed, flip_seed: stateless seeds; None as flip_seed for no flip.
    """
    batch, height, width, _ = images.shape
    rows = tf.tile(tf.range(height)[tf.newaxis], (batch, 1))
    columns = tf.tile(tf.range(width)[tf.newaxis], (batch, 1))
    if flip_seed is not None:
        columns = _mirrored(columns, flip_seed)
    if padding:
        images = tf.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        top, left = _offsets(batch, padding, crop_seed)
        rows, columns = rows + top, columns + left
    return _pixels(images, rows, columns)


def _mirrored(columns, seed):
    """Reverses the column indices `[batch, width]` of about half of the images."""
    flip = tf.random.stateless_uniform((columns.shape[0], 1), seed) < 0.5
    return tf.where(flip, tf.reverse(columns, axis=(1,)), columns)


def _offsets(batch, padding, seed):
    """Top and left offsets, int32 `[batch, 1]` each, uniform in 0..2*padding."""
    offsets = tf.random.stateless_uniform((batch, 2), seed, 0, 2 * padding + 1, tf.int32)
    return offsets[:, :1], offsets[:, 1:]


def _pixels(images, rows, columns):
    """`result[b, y, x] = images[b, rows[b, y], columns[b, x]]` as one gather of whole pixels."""
    batch, height, width, channels = images.shape
    first = tf.range(batch)[:, tf.newaxis, tf.newaxis] * (height * width)
    indices = first + rows[:, :, tf.newaxis] * width + columns[:, tf.newaxis, :]
    return tf.gather(tf.reshape(images, (-1, channels)), indices)


def rotate(images, degrees, seed):
    """Turns each image about its centre by an angle uniform in -degrees..degrees.

    A pixel takes the value of the nearest one that it comes from; what comes from outside is
    black.
    """
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
