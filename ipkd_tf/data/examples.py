"""Labelled images known by their index, and the data set that holds a training and a test part."""

import dataclasses
import functools
import hashlib

import numpy as np
import tensorflow as tf

MEMORY_LIMIT = 8 * 2**30  # bytes of uint8 pixels, training and test images together
_CHUNK = 2**23  # bytes of pixels whose levels are counted at a time


class Examples:
    """Labelled images of one part of a data set, known by their index 0..len-1.

    Labels are in memory, pixels stay in their source and are read by index. Parts made by `subset`
    share it, so a hold-out copies no pixels.

    Args:
        images: uint8 `[total, height, width, 3]`, values 0..255; or a source with the methods of
            `Pixels`, which may read from elsewhere.
        labels: int32 `[examples]`, classes counted from 0.
        rows: int `[examples]`, which images of the source these are; None for all, in order.

    Attributes:
        labels: int32 `[examples]`.
        image_shape: `(height, width, 3)`.

    Raises:
        ValueError: Images or labels of another kind, or none.

    Example:
        >>> digits = ipkd_tf.data.read("digits", image_size=8)
        >>> digits.train.subset([0, 5, 9]).images().shape
        (3, 8, 8, 3)
    """

    def __init__(self, images, labels, rows=None):
        self._source = images if hasattr(images, "gather") else Pixels(images)
        self._rows = np.arange(len(self._source)) if rows is None else np.asarray(rows)
        self.labels = labels
        _check_labels(labels, len(self._rows))
        self.image_shape = self._source.image_shape

    def __len__(self):
        return len(self.labels)

    def images(self, indices=slice(None)):
        """The images of these indices (default: all), uint8 `[k, height, width, 3]`."""
        return self._source.read(self._rows[indices])

    def subset(self, indices):
        """The examples of these indices, as `Examples` that share the source."""
        return Examples(self._source, self.labels[indices], self._rows[indices])

    def gather(self, indices):
        """`(images, labels)` of an integer tensor of indices; traceable, for `tf.data`."""
        rows, labels = self._on_host
        return self._source.gather(tf.gather(rows, indices)), tf.gather(labels, indices)

    @functools.cached_property
    def _on_host(self):
        return on_host(self._rows), on_host(self.labels)


class Pixels:
    """Images in memory: what `Examples` needs of a source.

    Args:
        array: uint8 `[total, height, width, 3]`.
    """

    def __init__(self, array):
        dtype, shape = getattr(array, "dtype", type(array)), getattr(array, "shape", None)
        if dtype != np.uint8 or shape is None or len(shape) != 4 or shape[-1] != 3:
            raise ValueError(
                "Images must be a uint8 array [examples, height, width, 3] with values 0..255. "
                f"Received: images.dtype={dtype}, images.shape={shape}"
            )
        if 0 in shape:
            raise ValueError(f"There are no images. Received: images.shape={shape}")
        self._array, self.image_shape = array, shape[1:]

    def __len__(self):
        return len(self._array)

    def read(self, rows):
        """The images of these rows, as an array."""
        return self._array[rows]

    def gather(self, rows):
        """The images of a tensor of rows, as a tensor; called while `tf.data` traces."""
        return tf.gather(self._tensor, rows)

    @functools.cached_property
    def _tensor(self):
        return on_host(self._array)


def on_host(array):
    """A constant in host memory, where tf.data runs; elsewhere it would be copied at each step."""
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.constant(array)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDataset:
    """Training and test images of one classification problem.

    Attributes:
        name: Of the data set.
        train, test: `Examples` with images of one shape.
        class_names: One name per class, in the order of the labels.
        mean, std: Per channel, of the training pixels divided by 255.
        source: What tells this data from other data, such as a version or a list of files, as
            text; enters `digest`.

    Raises:
        ValueError: Images of two shapes, labels outside the classes, or no numbers to normalize by.

    Example:
        >>> digits = ipkd_tf.data.read("digits")
        >>> network = ipkd_tf.models.MSDNet(digits.num_classes, mean=digits.mean, std=digits.std)
    """

    name: str
    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: str = ""

    def __post_init__(self):
        if not self.class_names:
            raise ValueError(
                f"Data set {self.name!r} needs at least one class. Received: class_names=()"
            )
        for part in ("train", "test"):
            labels = getattr(self, part).labels
            if labels.min() < 0 or labels.max() >= self.num_classes:
                raise ValueError(
                    f"Labels of the {part} split of data set {self.name!r} must lie in "
                    f"0..{self.num_classes - 1}, as it has {self.num_classes} classes. "
                    f"Received: labels.min()={labels.min()}, labels.max()={labels.max()}"
                )
        shapes = self.train.image_shape, self.test.image_shape
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"Training and test images of data set {self.name!r} must have the same size. "
                f"Received: train.image_shape={shapes[0]}, test.image_shape={shapes[1]}"
            )
        values = [*self.mean, *self.std]
        if (len(self.mean), len(self.std)) != (3, 3) or not (
            np.all(np.isfinite(values)) and min(self.std) > 0
        ):
            raise ValueError(
                f"Mean and standard deviation of data set {self.name!r} must be three finite "
                f"numbers each, the deviations above 0. Received: mean={self.mean}, std={self.std}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits by which a later reading of changed data is told from this one.

        Made of the source's description (a folder: path below it and size of every file; a TFDS
        set: name, version and number of examples of each split; digits: their origin), the class
        names, and the label of every training and test example in order. So it changes when
        images come, go, or move between classes or splits. It does not depend on where the data is
        stored, on the image size or on the process, and looks at no pixel: a file that is changed
        but keeps its size goes unnoticed.

        Store it with what was made from the data, and compare before that is continued or tested.
        """
        digest = hashlib.sha256(repr((self.source, self.class_names)).encode())
        for labels in (self.train.labels, self.test.labels):
            digest.update(f"{len(labels)}:".encode() + labels.astype("<i4").tobytes())
        return digest.hexdigest()[:16]


def _check_labels(labels, examples):
    dtype, shape = getattr(labels, "dtype", type(labels)), getattr(labels, "shape", None)
    if dtype != np.int32 or shape != (examples,):
        raise ValueError(
            f"Labels must be an int32 array, one label for each of its {examples} images. "
            f"Received: labels.dtype={dtype}, labels.shape={shape}"
        )


def check_fits(name, examples, size):
    """Raises ValueError, before anything is decoded, if the images would not fit in memory."""
    needed = examples * size * size * 3
    if needed > MEMORY_LIMIT:
        raise ValueError(
            f"Data set {name!r} would take {needed / 2**30:.1f} GiB of memory ({examples} images "
            f"of {size}x{size}x3 bytes); the limit is {MEMORY_LIMIT / 2**30:g} GiB. Make them "
            "smaller with --image_size or take fewer with --train_examples and --test_examples. "
            f"Received: name={name!r}"
        )


def collect(batches, examples, size, progress=None):
    """Fills a uint8 array `[examples, size, size, 3]` from batches, and tells `progress` so.

    May end early: returns only the part that was filled, so that the caller can say what is
    missing.
    """
    images = np.empty((examples, size, size, 3), np.uint8)
    filled = 0
    for batch in batches:
        images[filled : filled + len(batch)] = batch
        filled += len(batch)
        if progress:
            progress(filled, examples)
    return images[:filled]


def mean_and_std(examples):
    """Mean and standard deviation of each channel of `images / 255`, as two tuples of floats.

    Counts how often each of the 256 levels occurs, so nothing grows with the number of images.
    """
    counts = np.zeros((3, 256), np.int64)
    step = max(1, _CHUNK // int(np.prod(examples.image_shape)))
    for start in range(0, len(examples), step):
        pixels = examples.images(slice(start, start + step))
        counts += [np.bincount(pixels[..., c].ravel(), minlength=256) for c in range(3)]
    levels, pixels = np.arange(256), counts[0].sum()
    mean = counts @ levels / pixels
    variance = np.sum(counts * np.square(levels - mean[:, np.newaxis]), axis=1) / pixels
    # A constant channel has deviation 0; one grey level keeps the network's division finite.
    std = np.maximum(np.sqrt(variance), 1)
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
