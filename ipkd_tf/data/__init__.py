"""Image classification data: read, split, augmented and batched.

`read` gives examples, `training` and `evaluation` make batches of them; `load` does both at once.
"""

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ipkd_tf.data import splits
from ipkd_tf.data.augmentation import Augmentation
from ipkd_tf.data.examples import Examples, ImageDataset, explain_failure, mean_and_std
from ipkd_tf.data.pipeline import evaluation, training, training_epochs
from ipkd_tf.data.pixels import collect, free_memory
from ipkd_tf.data.splits import draw, hold_out
from ipkd_tf.output.checks import check

__all__ = [
    "Augmentation",
    "Examples",
    "ImageDataset",
    "draw",
    "evaluation",
    "explain_failure",
    "hold_out",
    "load",
    "read",
    "training",
    "training_epochs",
]


def read(
    name: str,
    data_dir: str | os.PathLike | None = None,
    image_size: int | tuple[int, int] | None = None,
    centre_crop: float = 0.0,
    train_examples: int | None = None,
    test_examples: int | None = None,
    seed: int = 0,
    memory: int | None = None,
    windows: bool = False,
    skip_broken: int = 0,
    progress: Callable[[int, int], None] | None = None,
    grey: bool = False,
) -> ImageDataset:
    """Reads an image classification data set into memory, or opens it to be read when asked for.

    Args:
        name: "digits" (comes along, no download), "cifar10", "cifar100", "tfds:NAME" for any
            other TFDS set with the features `image` and `label`, or "folder:PATH" for a folder of
            images per class (layouts: `ipkd_tf.data.folder`).
        data_dir: Where TFDS data sets are stored or will be; None for TFDS's own default. Only for
            TFDS sets.
        image_size: Side of the square in pixels that images are scaled to (antialiased), or its
            (height, width). None keeps the native size (digits: 32), if all are of one.
        centre_crop: Which part is scaled to that: the middle with this share of the largest part
            of that aspect ratio, such as 0.875; 0 for the whole image, whose ratio is not kept.
        train_examples, test_examples: Take a stratified subset of this many; None takes all.
        seed: Chooses the subset. It is no run's seed: leave it alone and all runs see the same
            subset.
        memory: Bytes that pixels may take; what needs more is read from its files, batch by batch.
            None for half of the memory that is free.
        windows: Whether training batches are windows of the originals
            (`Augmentation(resized_crop=...)`): then what is scaled is read from its files, too.
        skip_broken: How many images may turn out to be broken. Each is replaced by the next
            example of the same part, and named in `Examples.skipped`.
        progress: Function of (images read, images to read), called every few hundred images.
        grey: Images have one channel instead of three (RGB).

    Returns:
        `ImageDataset`.

    Raises:
        ValueError: An unknown name, or data that is missing, incomplete or broken; says what to do
            about it.

    Example:
        >>> digits = ipkd_tf.data.read("digits")
        >>> digits.train.images().shape
        (1437, 32, 32, 3)
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    numbers = {"train_examples": train_examples, "test_examples": test_examples}
    for setting, value in {"image_size": image_size, **numbers}.items():
        expected = "a whole number from 1 on, or None for the data set's own"
        check(value is None or np.min(value) >= 1, expected, **{setting: value})
    check(0 <= centre_crop <= 1, "a share from 0 to 1", centre_crop=centre_crop)
    source = open_source(name, data_dir, size, grey, centre_crop, skip_broken, progress)
    labels = source.train_labels, source.test_labels
    chosen = (
        splits.subset(labels[0], train_examples, "train_examples", seed),
        splits.subset(labels[1], test_examples, "test_examples", seed),
    )
    images, rows = source.images, np.concatenate([chosen[0], chosen[1] + len(labels[0])])
    needed = len(rows) * int(np.prod(images.image_shape))
    if needed <= (free_memory() // 2 if memory is None else memory):
        if not (windows and images.scaled):
            images, rows = collect(images, rows, progress), np.arange(len(rows))
    whole = Examples(images, np.concatenate([labels[0][chosen[0]], labels[1][chosen[1]]]), rows)
    train, test = (whole.subset(part) for part in np.split(np.arange(len(rows)), [len(chosen[0])]))
    statistics = source.statistics or mean_and_std(train)
    return ImageDataset(
        name, train, test, source.class_names, *statistics, source=source.description
    )


def open_source(name, data_dir, size, grey=False, centre_crop=0.0, skip_broken=0, progress=None):
    """The `Source` behind `read`, of which no pixel is read yet; ValueError if it is not there."""
    # A source is imported when asked for, so that `import ipkd_tf` stays quick.
    kind, _, argument = name.partition(":")
    channels = 1 if grey else 3
    if name == "digits":
        from ipkd_tf.data import digits

        return digits.open_digits(size, channels)
    if name in ("cifar10", "cifar100") or (kind == "tfds" and argument):
        from ipkd_tf.data import tfds_source

        return tfds_source.open_tfds(
            argument or name, data_dir, size, channels, centre_crop, skip_broken, progress
        )
    if kind == "folder" and argument:
        from ipkd_tf.data import folder

        return folder.open_folder(argument, size, channels, centre_crop, skip_broken)
    raise ValueError(
        "Unknown data set. Choose digits, cifar10, cifar100, tfds:NAME (a set of TensorFlow "
        "Datasets with the features image and label) or folder:PATH (one folder of images per "
        f"class). Received: name={name!r}"
    )


def load(
    name: str,
    batch_size: int,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    augmentation: Augmentation | None = None,
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Reads a data set and returns it as two `tf.data.Dataset`s, ready for `fit`.

    Args:
        name, data_dir: As for `read`.
        batch_size: Examples per step over all replicas.
        seed: Of the training order and augmentation.
        augmentation: An `Augmentation`; None crops and flips, but does not flip "digits", where a
            mirrored 2 is no 2.

    Returns:
        `(train, test)` of (uint8 image batch, int32 label batch). Each iteration over `train` is
        the next epoch, with its own order and augmentation; `test` is every test image once.

    Raises:
        ValueError: As `read`, `training` and `evaluation` do.

    Example:
        >>> train, test = ipkd_tf.data.load("cifar100", batch_size=64)
        >>> distiller.fit(train, validation_data=test, epochs=300, shuffle=False)
    """
    dataset = read(name, data_dir=data_dir)
    augmentation = augmentation or Augmentation(flip=name != "digits")
    train = training_epochs(dataset.train, None, batch_size, seed, augmentation)
    return train, evaluation(dataset.test, batch_size=batch_size)
