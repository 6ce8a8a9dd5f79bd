"""Labelled images known by their index, and the data set that holds a training and a test part."""

import contextlib
import dataclasses
import functools
import hashlib
import typing
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ipkd_tf.data import splits
from ipkd_tf.data.pixels import Pixels, on_host
from ipkd_tf.output.checks import check

_CHUNK = 2**23  # bytes of pixels whose levels are counted at a time
STATISTICS_EXAMPLES = 5000  # of more training images, mean and deviation are those of so many


class Examples:
    """Labelled images of one part of a data set, known by their index 0..len-1.

    Labels are in memory, pixels stay in their source and are read by index. Parts made by `subset`
    share it, so a hold-out copies no pixels. Where a source may skip images that cannot be read,
    the next example that can, image and label, stands for each of them.

    Args:
        images: uint8 `[total, height, width, 1 or 3]`, values 0..255; or a source that reads from
            elsewhere, with `image_shape`, `__len__` and `read(rows)`, as `data.originals` has.
        labels: int32 `[examples]`, classes counted from 0.
        rows: int `[examples]`, which images of the source these are; None for all, in order.

    Attributes:
        labels: int32 `[examples]`.
        image_shape: `(height, width, channels)`.
        in_memory: Whether the pixels are; else they are read when asked for.

    Raises:
        ValueError: Images or labels of another kind, or none.

    Example:
        >>> digits = ipkd_tf.data.read("digits", image_size=8)
        >>> digits.train.subset([0, 5, 9]).images().shape
        (3, 8, 8, 3)
    """

    def __init__(self, images: typing.Any, labels: np.ndarray, rows: np.ndarray | None = None):
        self._source = images if hasattr(images, "read") else Pixels(images)
        self._rows = np.arange(len(self._source)) if rows is None else rows
        self.labels = labels
        self.image_shape = self._source.image_shape
        self.in_memory = isinstance(self._source, Pixels)
        dtype, shape = getattr(labels, "dtype", type(labels)), getattr(labels, "shape", None)
        expected = f"labels as an int32 array, one for each of its {len(self._rows)} images"
        received = {"labels.dtype": str(dtype), "labels.shape": shape}
        check(dtype == np.int32 and shape == self._rows.shape, expected, **received)

    def __len__(self):
        return len(self.labels)

    @property
    def skipped(self) -> dict[str, str]:
        """Images that could not be read, so far: what is wrong with each, by its name."""
        return dict(getattr(self._source, "skipped", {}).values())

    def images(self, indices: typing.Any = slice(None)) -> np.ndarray:
        """The images of these indices (default: all), uint8 `[k, height, width, channels]`."""
        return self.read(indices)[0]

    # So they stand in for an array where batches are sliced out of one.
    __getitem__ = images

    def read(
        self, indices: typing.Any = slice(None), windows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`(images, labels)` of these indices; `windows` as for `gather`."""
        indices = np.arange(len(self))[indices]
        more = [] if windows is None else [windows]
        images = self._source.read(self._rows[indices], *more)
        for _ in range(len(self)):
            skipped = list(getattr(self._source, "skipped", ()))
            again = np.flatnonzero(np.isin(self._rows[indices], skipped)) if skipped else ()
            if not len(again):
                return images, self.labels[indices]
            indices[again] = (indices[again] + 1) % len(self)
            some = [all_windows[again] for all_windows in more]
            images[again] = self._source.read(self._rows[indices[again]], *some)
        raise ValueError(f"None of the {len(self)} images of a part can be read.")

    def subset(self, indices: typing.Any) -> "Examples":
        """The examples of these indices, as `Examples` that share the source."""
        return Examples(self._source, self.labels[indices], self._rows[indices])

    def gather(
        self, indices: tf.Tensor, windows: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`(images, labels)` of an integer tensor of indices; traceable, for `tf.data`.

        By `windows`, float32 `[k, attempts, 4]`, `image_file.drawn` draws a window of each image.
        """
        fast = hasattr(self._source, "gather") and not getattr(self._source, "skipped", ())
        if fast and windows is None:
            rows, labels = self._constants
            return self._source.gather(tf.gather(rows, indices)), tf.gather(labels, indices)
        inputs = [indices] if windows is None else [indices, windows]
        images, labels = tf.numpy_function(self._try_to_read, inputs, [tf.uint8, tf.int32])
        labels.set_shape(indices.shape)
        images.set_shape(labels.shape + self.image_shape)
        return images, labels

    def _try_to_read(self, *inputs):
        try:
            return self.read(*inputs)
        except (OSError, ValueError) as error:
            self._source.failure = error  # for `explain_failure`: TensorFlow keeps but its text
            raise

    @functools.cached_property
    def _constants(self):
        return on_host(self._rows), on_host(self.labels)


@contextlib.contextmanager
def explain_failure(examples: Examples) -> Iterator[None]:
    """Inside the block, an image that `tf.data` cannot read ends in the error of its source."""
    try:
        yield
    except tf.errors.OpError:
        if failure := getattr(examples._source, "failure", None):
            raise failure from None
        raise


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDataset:
    """Training and test images of one classification problem.

    Attributes:
        name: Of the data set.
        train, test: `Examples` with images of one shape.
        class_names: One name per class, in the order of the labels.
        mean, std: Per channel, of the training pixels divided by 255.
        source: What tells this data from other data, such as its version, as text; for `digest`.

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
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str = ""

    def __post_init__(self):
        classes, shapes = self.num_classes, (self.train.image_shape, self.test.image_shape)
        check(classes, "at least one class", name=self.name, class_names=())
        for part, labels in (("train", self.train.labels), ("test", self.test.labels)):
            expected = f"labels in 0..{classes - 1}, as there are {classes} classes"
            inside = labels.min() >= 0 and labels.max() < classes
            received = {"labels.min()": int(labels.min()), "labels.max()": int(labels.max())}
            check(inside, expected, name=self.name, split=part, **received)
        received = {"train.image_shape": shapes[0], "test.image_shape": shapes[1]}
        expected = "training and test images of the same size"
        check(shapes[0] == shapes[1], expected, name=self.name, **received)
        channels = self.train.image_shape[-1]
        valid = len(self.mean) == len(self.std) == channels and min(self.std) > 0
        expected = f"a finite mean and deviation above 0 of each of {channels} channels"
        finite = np.all(np.isfinite([*self.mean, *self.std]))
        check(valid and finite, expected, name=self.name, mean=self.mean, std=self.std)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that tell whether this is the data that was there before.

        It is made of the source's description (folder: path below it and size of every file; TFDS:
        name, version, number of examples of each split), the class names and all labels in order.
        So it changes when images come, go, or move to another class or split, but not with the
        place of storage or the image size. A file that changes but keeps its size goes unnoticed.
        """
        digest = hashlib.sha256(repr((self.source, self.class_names)).encode())
        for labels in (self.train.labels, self.test.labels):
            digest.update(f"{len(labels)}:".encode() + labels.astype("<i4").tobytes())
        return digest.hexdigest()[:16]


class Source(typing.NamedTuple):
    """An opened data set: all its labels are known, none of its images is decoded."""

    class_names: tuple[str, ...]
    train_labels: np.ndarray
    test_labels: np.ndarray
    images: typing.Any  # a source for `Examples`: the training images, then the test images
    description: str  # for `ImageDataset.digest`
    statistics: tuple | None = None  # published mean and std


def mean_and_std(examples):
    """Mean and standard deviation of each channel of `images / 255`, as two tuples of floats.

    Of many examples a fixed sample is taken. Levels are counted, so that no memory grows with them.
    """
    if len(examples) > STATISTICS_EXAMPLES:
        examples = examples.subset(splits.draw(examples.labels, STATISTICS_EXAMPLES))
    channels = examples.image_shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    step = max(1, _CHUNK // int(np.prod(examples.image_shape)))
    for start in range(0, len(examples), step):
        pixels = examples.images(slice(start, start + step))
        counts += [np.bincount(pixels[..., c].ravel(), minlength=256) for c in range(channels)]
    levels, pixels = np.arange(256), counts[0].sum()
    mean = counts @ levels / pixels
    variance = np.sum(counts * np.square(levels - mean[:, np.newaxis]), axis=1) / pixels
    # A constant channel has deviation 0; one grey level keeps the network's division finite.
    std = np.maximum(np.sqrt(variance), 1)
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
