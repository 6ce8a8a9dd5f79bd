"""Image classification data held in memory: what every source returns and everything reads."""

import dataclasses

import numpy as np

_CHUNK = 4096  # images converted to float64 at a time: 100 MB at 32x32 pixels


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDataset:
    """Training and test images of one classification problem, in memory as uint8.

    Attributes:
      name: of the data set.
      train_images, test_images: uint8 `[examples, height, width, 3]`, values 0..255.
      train_labels, test_labels: int32 `[examples]`, values 0..classes-1.
      class_names: one name per class, in the order of the labels.
      mean, std: per channel, of the training pixels divided by 255.

    Raises:
      ValueError: for wrong dtypes or shapes, an empty split, or labels outside the classes.

    Example:
      ```python
      digits = ipkd_tf.data.read("digits")
      network = ipkd_tf.models.MSDNet(digits.num_classes, mean=digits.mean, std=digits.std)
      ```
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self):
        if not self.class_names:
            raise ValueError(
                f"Data set {self.name!r} needs at least one class. Received: class_names=()"
            )
        for split in ("train", "test"):
            where = f"{split} split of data set {self.name!r}"
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            check_images(images, where)
            check_labels(labels, where, examples=len(images), classes=self.num_classes)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ValueError(
                f"Training and test images of data set {self.name!r} must have the same size. "
                f"Received: train_images.shape={self.train_images.shape}, "
                f"test_images.shape={self.test_images.shape}"
            )
        check_normalisation(self.mean, self.std, self.name)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def check_images(images, where):
    """Raises ValueError unless `images` is a non-empty uint8 `[examples, height, width, 3]`."""
    dtype, shape = getattr(images, "dtype", type(images)), getattr(images, "shape", None)
    if dtype != np.uint8 or shape is None or len(shape) != 4 or shape[-1] != 3:
        raise ValueError(
            f"Images of the {where} must be a uint8 array [examples, height, width, 3] with "
            f"values 0..255. Received: images.dtype={dtype}, images.shape={shape}"
        )
    if 0 in shape:
        raise ValueError(f"The {where} has no images. Received: images.shape={shape}")


def check_labels(labels, where, examples, classes=None):
    """Raises ValueError unless `labels` is int32 `[examples]` with values 0..classes-1."""
    dtype, shape = getattr(labels, "dtype", type(labels)), getattr(labels, "shape", None)
    if dtype != np.int32 or shape != (examples,):
        raise ValueError(
            f"Labels of the {where} must be an int32 array, one label for each of its {examples} "
            f"images. Received: labels.dtype={dtype}, labels.shape={shape}"
        )
    if classes is not None and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"Labels of the {where} must lie in 0..{classes - 1}, as it has {classes} classes. "
            f"Received: labels.min()={labels.min()}, labels.max()={labels.max()}"
        )


def check_normalisation(mean, std, name):
    """Raises ValueError unless mean and std hold three finite values each, std above 0."""
    valid = len(mean) == len(std) == 3 and np.all(np.isfinite([*mean, *std])) and min(std) > 0
    if not valid:
        raise ValueError(
            f"Mean and standard deviation of data set {name!r} must be three finite numbers each, "
            f"the deviations above 0. Received: mean={mean}, std={std}"
        )


def mean_and_std(images):
    """Per-channel mean and standard deviation of `images / 255`, as two tuples of three floats.

    Args:
      images: uint8 `[examples, height, width, 3]`. Summed in float64, a few thousand at a time.
    """
    total, total_of_squares = np.zeros(3), np.zeros(3)
    for start in range(0, len(images), _CHUNK):
        pixels = images[start : start + _CHUNK].astype(np.float64) / 255
        total += pixels.sum(axis=(0, 1, 2))
        total_of_squares += np.square(pixels).sum(axis=(0, 1, 2))
    count = images[..., 0].size
    mean = total / count
    variance = np.maximum(total_of_squares / count - np.square(mean), 0)
    # A constant channel has deviation 0; one grey level keeps the network's division finite.
    std = np.maximum(np.sqrt(variance), 1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())
