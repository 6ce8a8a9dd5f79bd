"""Image classification data sets of TensorFlow Datasets (TFDS)."""

import os

import numpy as np
import tensorflow_datasets as tfds

from ipkd_tf.data import memory, splits, tfds_split, tfds_stored
from ipkd_tf.data.dataset import ImageDataset, mean_and_std

# Published statistics, as kalviny/MSDNet-PyTorch uses them for CIFAR.
PUBLISHED = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def read(
    name, data_dir=None, image_size=None, train_examples=None, test_examples=None, seed=0
) -> ImageDataset:
    """Reads a TFDS data set with the features `image` and `label`.

    The test split is `test`, else `validation`, else a fixed stratified fifth of `train`.

    Args:
      name: as TFDS knows it: "cifar10", "svhn_cropped", "name/config:1.0.0".
      data_dir: where TFDS data sets are stored; None for TFDS's own default.
      image_size: side of the square that every image is scaled to (antialiased, aspect ratio not
        kept). May be left out if all images are squares of one size.
      train_examples, test_examples, seed: as in `ipkd_tf.data.read`.

    Raises:
      ValueError: for unknown names, other kinds of data, incomplete files, or data that is neither
        stored nor can be downloaded now.
    """
    # A shell leaves the ~ of --data_dir=~/data alone, and so does TFDS.
    builder = _builder(name, os.path.expanduser(data_dir) if data_dir else None)
    tfds_stored.ensure_stored(builder)
    size = _size(builder, image_size)
    train, test = _train_and_test(builder)
    train = train.subset(train_examples, "train_examples", seed)
    test = test.subset(test_examples, "test_examples", seed)
    memory.check_fits(name, len(train.labels) + len(test.labels), size, size)
    train_images = tfds_split.images(builder, train, size)
    mean, std = PUBLISHED.get(builder.name) or mean_and_std(train_images)
    label = builder.info.features["label"]
    return ImageDataset(
        name=name,
        train_images=train_images,
        train_labels=train.labels,
        test_images=tfds_split.images(builder, test, size),
        test_labels=test.labels,
        class_names=tuple(label.int2str(index) for index in range(label.num_classes)),
        mean=mean,
        std=std,
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
    if not (
        isinstance(features.get("image"), tfds.features.Image)
        and isinstance(features.get("label"), tfds.features.ClassLabel)
    ):
        raise ValueError(
            "An image classification data set needs the features 'image' and 'label'; this one "
            f"has {', '.join(map(repr, features))}. Received: name={name!r}"
        )
    return builder


def _size(builder, image_size):
    """Side of the square images that will be returned."""
    image = builder.info.features["image"]
    height, width, channels = image.shape
    if image.dtype != np.uint8 or channels not in (1, 3):
        raise ValueError(
            f"Images must be uint8, grey or RGB; data set {builder.name!r} has {image.dtype} of "
            f"shape {image.shape}. Received: name={builder.name!r}"
        )
    if image_size is None and (height is None or height != width):
        raise ValueError(
            f"Networks take square images, but those of {builder.name!r} have shape "
            f"{image.shape}. Choose a size that all images are scaled to, such as --image_size=32. "
            "Received: image_size=None"
        )
    return image_size or height


def _train_and_test(builder):
    """Returns the whole training part and the whole test part; reads the labels only."""
    available = builder.info.splits
    if "train" not in available:
        raise ValueError(
            f"Data set {builder.name!r} has no split 'train', only {list(available)}. "
            f"Received: name={builder.name!r}"
        )
    train = tfds_split.whole(builder, "train")
    for split in ("test", "validation"):
        if split in available:
            return train, tfds_split.whole(builder, split)
    kept, held = splits.split_off_test(train.labels)
    return train.pick(kept), train.pick(held)
