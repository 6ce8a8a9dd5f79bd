"""Image classification data: read into memory, split, augmented and batched.

`read` gives arrays, `training` and `evaluation` make batches of them; `load` does both at once.
"""

from ipkd_tf.data.augmentation import Augmentation
from ipkd_tf.data.dataset import ImageDataset
from ipkd_tf.data.pipeline import evaluation, training, training_epochs
from ipkd_tf.data.splits import hold_out

__all__ = [
    "Augmentation",
    "ImageDataset",
    "evaluation",
    "hold_out",
    "load",
    "read",
    "training",
    "training_epochs",
]


def read(
    name, data_dir=None, image_size=None, train_examples=None, test_examples=None, seed=0
) -> ImageDataset:
    """Reads an image classification data set into memory.

    Args:
      name: "digits" (comes along, no download), "cifar10", "cifar100", "tfds:NAME" for any other
        image classification set of TFDS, or "folder:PATH" for a folder of images per class.
      data_dir: where TFDS data sets are stored or will be; None for TFDS's own default. Only for
        TFDS sets.
      image_size: side of the square in pixels that images are scaled to. None keeps the native
        size (digits: 32).
      train_examples, test_examples: take a stratified subset of this many; None takes all.
      seed: chooses the subset. It is no run's seed: leave it alone and all runs see the same
        subset.

    Raises:
      ValueError: for an unknown name, and for data that is missing, incomplete, broken or too
        large for memory; says what to do about it.

    Example:
      ```python
      cifar = ipkd_tf.data.read("cifar100", data_dir="~/tensorflow_datasets")
      cifar.train_images.shape  # (50000, 32, 32, 3)
      ```
    """
    settings = {
        "image_size": image_size,
        "train_examples": train_examples,
        "test_examples": test_examples,
    }
    for setting, value in settings.items():
        if value is not None and value < 1:
            raise ValueError(
                "Choose a whole number from 1 on, or None for the data set's own. "
                f"Received: {setting}={value}"
            )
    settings["seed"] = seed
    source, _, argument = name.partition(":")
    # A source is imported when asked for, so that `import ipkd_tf` stays quick.
    if name == "digits":
        from ipkd_tf.data import digits

        return digits.read(**settings)
    if name in ("cifar10", "cifar100") or (source == "tfds" and argument):
        from ipkd_tf.data import tfds_source

        return tfds_source.read(argument or name, data_dir=data_dir, **settings)
    if source == "folder" and argument:
        from ipkd_tf.data import folder

        return folder.read(argument, **settings)
    raise ValueError(
        "Unknown data set. Choose digits, cifar10, cifar100, tfds:NAME (any image classification "
        "set of TensorFlow Datasets) or folder:PATH (one folder of images per class). "
        f"Received: name={name!r}"
    )


def load(name, batch_size, seed=0, data_dir=None, augmentation=None):
    """Reads a data set and returns it as two `tf.data.Dataset`s, ready for `fit`.

    Args:
      name, data_dir: as for `read`.
      batch_size: examples per step over all replicas.
      seed: of the training order and augmentation.
      augmentation: an `Augmentation`; None crops and flips, but does not flip "digits", where a
        mirrored 2 is no 2.

    Returns:
      `(train, test)` of (uint8 image batch, int32 label batch). Each iteration over `train` is the
      next epoch, with its own order and augmentation; `test` is every test image once.

    Raises:
      ValueError: as `read`, `training` and `evaluation` do.

    Example:
      ```python
      train, test = ipkd_tf.data.load("cifar100", batch_size=64)
      distiller.fit(train, validation_data=test, epochs=300)
      ```
    """
    dataset = read(name, data_dir=data_dir)
    if augmentation is None:
        augmentation = Augmentation(flip=name != "digits")
    train = training_epochs(
        dataset.train_images, dataset.train_labels, batch_size, seed, augmentation
    )
    return train, evaluation(dataset.test_images, dataset.test_labels, batch_size)
