"""Labels as probabilities: label smoothing, and mixup of images and labels."""

import tensorflow as tf


def smoothed(labels, num_classes, share):
    """Labels `[batch]` as float32 `[batch, num_classes]`, a share of each spread over all classes.

    Source: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, section 7.
    """
    return tf.one_hot(labels, num_classes) * (1 - share) + share / num_classes


def mixup(images, labels, alpha, seed):
    """Mixes each image and label of a batch with another's, all with the same share.

    The share is drawn from Beta(alpha, alpha). Batches come in random order, so the partner is the
    image on the opposite place of the batch.

    Args:
      images: uint8 `[batch, height, width, 3]`; mixed pixels are rounded.
      labels: float32 `[batch, classes]`.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
    """
    one, other = tf.unstack(tf.random.stateless_gamma((2,), seed, alpha))
    share = tf.math.divide_no_nan(one, one + other)
    pixels = tf.cast(images, tf.float32)
    mixed = _mixed(pixels, share)
    return tf.cast(tf.round(mixed), images.dtype), _mixed(labels, share)


def _mixed(values, share):
    return share * values + (1 - share) * tf.reverse(values, axis=(0,))
