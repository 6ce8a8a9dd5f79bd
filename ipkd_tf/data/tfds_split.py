"""Reading some of the examples of a stored TFDS split."""

import typing

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ipkd_tf.data import memory, splits, tfds_stored

_BATCH = 256  # images decoded between two updates of the progress bar


class Part(typing.NamedTuple):
    """Some examples of a TFDS split, known by their sorted indices."""

    split: str
    indices: np.ndarray
    labels: np.ndarray

    def pick(self, chosen):
        return Part(self.split, self.indices[chosen], self.labels[chosen])

    def subset(self, examples, setting, seed):
        return self.pick(splits.subset_indices(self.labels, examples, setting, seed))


def whole(builder, split):
    """Returns all of a split as a `Part`; reads its labels only."""
    label_only = tfds.decode.PartialDecoding({"label": True})
    labels = builder.as_dataset(split=split, decoders=label_only).map(lambda e: e["label"])
    labels = np.concatenate([[], *_elements(builder, split, labels.batch(10_000))])
    expected = builder.info.splits[split].num_examples
    if len(labels) != expected:
        raise tfds_stored.damaged(
            builder, f"split {split!r} holds {len(labels)} of {expected} examples"
        )
    return Part(split, np.arange(expected), labels.astype(np.int32))


def images(builder, part, size):
    """Decodes the images of one part into a uint8 array `[examples, size, size, 3]`."""
    feature = builder.info.features["image"]
    wanted = np.zeros(builder.info.splits[part.split].num_examples, bool)
    wanted[part.indices] = True

    def decode(example):
        return _resized(_rgb(feature.decode_example(example["image"])), size)

    encoded = builder.as_dataset(
        split=part.split, decoders={"image": tfds.decode.SkipDecoding()}
    ).enumerate()
    decoded = encoded.filter(lambda index, _: tf.gather(wanted, index)).map(
        lambda _, example: decode(example), num_parallel_calls=tf.data.AUTOTUNE
    )
    batches = _elements(builder, part.split, decoded.batch(_BATCH).prefetch(1))
    return memory.collect(batches, len(part.indices), size, size)


def _rgb(image):
    return tf.image.grayscale_to_rgb(image) if image.shape[-1] == 1 else image


def _resized(image, size):
    """Scales a uint8 image `[height, width, 3]` to `[size, size, 3]`."""
    if image.shape[:2] == (size, size):
        return image
    resized = tf.image.resize(image, (size, size), antialias=True)
    return tf.cast(tf.round(resized), tf.uint8)  # bilinear: stays within 0..255


def _elements(builder, split, dataset):
    """Iterates over `dataset` in numpy; what TensorFlow reports of the files becomes clear."""
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        reason = f"split {split!r} cannot be read ({str(error).splitlines()[0]})"
        raise tfds_stored.damaged(builder, reason) from error
