"""Image classification data sets of TensorFlow Datasets (TFDS)."""

import itertools
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ipkd_tf.data import splits, tfds_stored
from ipkd_tf.data.examples import Examples, ImageDataset, check_fits, collect, mean_and_std

# Of the training pixels, as published; within 0.0016 deviations of what kalviny/MSDNet-PyTorch
# normalizes by, whose constants differ in the fourth digit.
PUBLISHED = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
_BATCH = 256  # images decoded between two calls of `progress`


def read(
    name,
    data_dir=None,
    image_size=None,
    train_examples=None,
    test_examples=None,
    seed=0,
    progress=None,
) -> ImageDataset:
    """Reads a TFDS data set with the features `image` and `label`.

    The test split is `test`, else `validation`, else a fixed stratified fifth of `train`.

    Args:
        name: As TFDS knows it: "cifar10", "svhn_cropped", "name/config:1.0.0".
        data_dir: Where TFDS data sets are stored; None for TFDS's own default.
        image_size: Side of the square that every image is scaled to (antialiased, aspect ratio
            not kept). May be left out if all images are squares of one size.
        train_examples, test_examples, seed, progress: As in `ipkd_tf.data.read`.

    Raises:
        ValueError: Unknown names, other kinds of data, incomplete files, or data that is neither
            stored nor can be downloaded now.
    """
    # A shell leaves the ~ of --data_dir=~/data alone, and so does TFDS.
    builder = _builder(name, os.path.expanduser(data_dir) if data_dir else None)
    tfds_stored.ensure_stored(builder)
    size = _size(builder, image_size)
    (train_split, train, train_labels), (test_split, test, test_labels) = _parts(builder)
    chosen = splits.subset(train_labels, train_examples, "train_examples", seed)
    train, train_labels = train[chosen], train_labels[chosen]
    chosen = splits.subset(test_labels, test_examples, "test_examples", seed)
    test, test_labels = test[chosen], test_labels[chosen]
    labels = np.concatenate([train_labels, test_labels])
    check_fits(name, len(labels), size)
    batches = itertools.chain(
        _image_batches(builder, train_split, train, size),
        _image_batches(builder, test_split, test, size),
    )
    whole = Examples(collect(batches, len(labels), size, progress), labels)
    train = whole.subset(np.arange(len(train)))
    test = whole.subset(np.arange(len(train), len(labels)))
    feature = builder.info.features["label"]
    counts = {key: split.num_examples for key, split in sorted(builder.info.splits.items())}
    return ImageDataset(
        name,
        train,
        test,
        tuple(feature.int2str(index) for index in range(feature.num_classes)),
        *(PUBLISHED.get(builder.name) or mean_and_std(train)),
        source=f"tfds {builder.info.full_name} {counts}",
    )


def _builder(name, data_dir):
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            "TFDS has no data set of this name, and none is stored in the data directory. Names: "
            "https://www.tensorflow.org/datasets/catalog/overview. "
            f"Received: name={name!r}, data_dir={data_dir!r}"
        ) from error
    except Exception as error:  # each of the many builders fails in its own way
        raise ValueError(
            f"TFDS cannot open this data set: {type(error).__name__}: {error}. "
            f"Received: name={name!r}, data_dir={data_dir!r}"
        ) from error
    features = dict(builder.info.features.items())
    image, label = features.get("image"), features.get("label")
    if not (isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)):
        raise ValueError(
            "Of TFDS's data sets those with features called 'image' and 'label' can be read; this "
            f"one has {', '.join(map(repr, features))}. Received: name={name!r}"
        )
    if image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"Images must be uint8, grey or RGB; those of this data set are {image.np_dtype} of "
            f"shape {image.shape}. Received: name={name!r}"
        )
    return builder


def _size(builder, image_size):
    """Side of the square images that will be returned."""
    height, width, _ = builder.info.features["image"].shape
    if image_size is None and (height is None or height != width):
        raise ValueError(
            f"Networks take square images, but those of {builder.name!r} have shape "
            f"{builder.info.features['image'].shape}. Choose a size that all images are scaled to, "
            "such as --image_size=32. Received: image_size=None"
        )
    return image_size or height


def _parts(builder):
    """(split, indices, labels) of the training and of the test part; reads the labels only."""
    available = builder.info.splits
    if "train" not in available:
        raise ValueError(
            f"Data set {builder.name!r} has no split 'train', only {list(available)}. "
            f"Received: name={builder.name!r}"
        )
    labels = _labels(builder, "train")
    for split in ("test", "validation"):
        if split in available:
            other = _labels(builder, split)
            return ("train", np.arange(len(labels)), labels), (split, np.arange(len(other)), other)
    names = builder.info.features["label"].names
    train, test = splits.split_off_test(labels, names)
    return ("train", train, labels[train]), ("train", test, labels[test])


def _labels(builder, split):
    label_only = tfds.decode.PartialDecoding({"label": True})
    labels = builder.as_dataset(split=split, decoders=label_only).map(lambda e: e["label"])
    labels = np.concatenate([[], *_elements(builder, split, labels.batch(10_000))])
    expected = builder.info.splits[split].num_examples
    if len(labels) != expected:
        raise tfds_stored.incomplete(
            builder, f"split {split!r} holds {len(labels)} of {expected} examples"
        )
    return labels.astype(np.int32)


def _image_batches(builder, split, indices, size):
    """Batches of the decoded images of these sorted indices, uint8 `[batch, size, size, 3]`."""
    feature = builder.info.features["image"]
    wanted = np.zeros(builder.info.splits[split].num_examples, bool)
    wanted[indices] = True

    def decode(_, example):
        image = feature.decode_example(example["image"])
        if image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        if image.shape[:2] == (size, size):
            return image
        resized = tf.image.resize(image, (size, size), antialias=True)
        return tf.cast(tf.round(resized), tf.uint8)  # bilinear: stays within 0..255

    encoded = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    chosen = encoded.enumerate().filter(lambda index, _: tf.gather(wanted, index))
    decoded = chosen.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return _elements(builder, split, decoded.batch(_BATCH).prefetch(1))


def _elements(builder, split, dataset):
    """Iterates over `dataset` in numpy; what TensorFlow reports of the files becomes clear."""
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        reason = f"split {split!r} cannot be read ({str(error).splitlines()[0]})"
        raise tfds_stored.incomplete(builder, reason) from error
