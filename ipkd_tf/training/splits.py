"""The images of an experiment: what trains, what chooses the best epoch, what tests."""

import dataclasses

import numpy as np
import tensorflow as tf

from ipkd_tf import data
from ipkd_tf.output import counter
from ipkd_tf.output.checks import check
from ipkd_tf.training import settings


@dataclasses.dataclass(frozen=True)
class Splits:
    """The data set's facts, and the `Examples` of each part."""

    dataset: data.ImageDataset
    train: data.Examples
    validation: data.Examples
    test: data.Examples

    def steps_per_epoch(self, batch_size):
        return len(self.train) // batch_size

    def examples(self):
        """Number of images in each part."""
        return {name: len(getattr(self, name)) for name in ("train", "validation", "test")}

    def identity(self):
        """What tells these data from others: the examples, and the data set's digest."""
        return {**self.examples(), "digest": self.dataset.digest}


def check_same_data(there, here, where):
    """Raises ValueError unless the identity of what a run was trained with equals today's."""
    different = [name for name in here if there.get(name) != here[name]]
    if different:
        problem = "the data are not those the run was trained on"
        if different == ["teachers"]:
            problem = "the teachers are not those the run was taught by"
        raise ValueError(
            f"{problem}; restore them, or train anew in another --workdir. Received: "
            + ", ".join(f"{name}={here[name]} ({there.get(name)} there)" for name in different)
            + f", run={str(where)!r}"
        )


def read_splits(experiment):
    """Reads the data set and holds out what chooses the best epoch, alike for every seed."""
    dataset = data.read(
        experiment.dataset,
        data_dir=experiment.data_dir or None,
        image_size=experiment.size,
        grey=experiment.grey,
        train_examples=experiment.train_examples or None,
        test_examples=experiment.test_examples or None,
        centre_crop=experiment.centre_crop,
        memory=settings.parse_memory(experiment.memory),
        windows=experiment.resized_crop > 0,
        skip_broken=experiment.skip_broken,
        progress=counter.count("reading"),
    )
    expected = f"at least two classes; there is only {dataset.class_names[0]}"
    check(dataset.num_classes > 1, expected, dataset=experiment.dataset)
    train, validation = dataset.train, dataset.test
    if (held_out := experiment.held_out) is not None:
        count = round(held_out * len(train)) if isinstance(held_out, float) else held_out
        expected = f"some, not all, of the {len(train)} training images, such as holdout:0.1"
        check(0 < count < len(train), expected, validation=experiment.validation)
        train, validation = data.hold_out(train, count, seed=0, class_names=dataset.class_names)
    expected = f"at most the {len(train)} training images"
    check(experiment.batch_size <= len(train), expected, batch_size=experiment.batch_size)
    return Splits(dataset, train, validation, dataset.test)


def training_batches(experiment, splits, start_step, part):
    """Weighted and augmented batches of training images from a step on, or a part of each."""
    names = (field.name for field in dataclasses.fields(data.Augmentation))
    augmentation = {n: getattr(experiment, n) for n in names if hasattr(experiment, n)}
    batches = data.training(
        splits.train,
        batch_size=experiment.batch_size,
        seed=experiment.seed,
        start_step=start_step,
        part=part,
        augmentation=data.Augmentation(**augmentation, num_classes=splits.dataset.num_classes),
    )
    if experiment.class_weights == "none":
        return batches
    weights = tf.constant(_balanced(splits.train.labels, splits.dataset.num_classes))

    def weigh(labels):
        if labels.dtype.is_floating:  # shares of each class
            return tf.linalg.matvec(labels, weights)
        return tf.gather(weights, labels)

    return batches.map(lambda images, labels: (images, labels, weigh(labels)))


def _balanced(labels, num_classes):
    """A weight for each class, float32 `[classes]`: the mean over the images is 1."""
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (num_classes * np.maximum(counts, 1))).astype(np.float32)
