"""What a data set hands over, made to fit the objective."""

import keras
import tensorflow as tf


def unpack(data):
    """Images, labels and weights; of images of weight 0 what is not finite is 0."""
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    labels = tf.convert_to_tensor(labels)
    if labels.dtype.is_integer:
        labels = _flatten("Class numbers", labels)
    if weights is None:
        return images, labels, None
    weights = _flatten("Sample weights", tf.cast(weights, tf.float32))

    def clean(values):
        if not values.dtype.is_floating:
            return values
        keep = tf.reshape(weights != 0, [-1] + [1] * (values.shape.rank - 1))
        return tf.where(keep | tf.math.is_finite(values), values, tf.zeros_like(values))

    return keras.tree.map_structure(clean, images), labels, weights


def _flatten(what, values):
    """Values `[batch]`; Keras also hands over columns, and unknown ranks if it has seen both."""
    shape = values.shape
    if shape.rank is not None and (shape.rank not in (1, 2) or shape.rank == 2 and shape[1] != 1):
        raise ValueError(
            f"{what} must be one number per example, [batch] or [batch, 1] (probabilities are "
            f"floating-point numbers [batch, classes]). Received: shape={shape}"
        )
    return tf.reshape(values, [-1])
