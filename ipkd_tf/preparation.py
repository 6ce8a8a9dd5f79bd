"""The parts of a run, made from an Experiment: strategy, data, network, distiller, optimizer."""

import dataclasses

import keras
import tensorflow as tf

from ipkd_tf import data, models, optimizers, schedules
from ipkd_tf.distillation import InplaceDistiller

_DECAY_EXCLUSIONS = {"all": (), "kernels": ("(gamma|beta|bias)$", "depthwise")}


@dataclasses.dataclass(frozen=True)
class Splits:
    """The data set's facts, and (images, labels) of each part."""

    dataset: data.ImageDataset
    train: tuple
    validation: tuple
    test: tuple

    def steps_per_epoch(self, batch_size):
        return len(self.train[1]) // batch_size

    def examples(self):
        """Number of images in each part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: len(labels) for name, (_, labels) in parts.items()}


def read_splits(experiment):
    """Reads the data set and holds out the images that choose the best epoch.

    The parts are the same for every seed of the experiment, so seeds compare training alone.
    """
    dataset = data.read(
        experiment.dataset,
        data_dir=experiment.data_dir or None,
        image_size=experiment.image_size or None,
        train_examples=experiment.train_examples or None,
        test_examples=experiment.test_examples or None,
    )
    train = dataset.train_images, dataset.train_labels
    test = dataset.test_images, dataset.test_labels
    validation = test
    if experiment.held_out is not None:
        train, validation = data.hold_out(*train, _held_out_examples(experiment, train), seed=0)
    if len(train[1]) < experiment.batch_size:
        raise ValueError(
            f"batch_size must be at most the {len(train[1])} training images. "
            f"Received: batch_size={experiment.batch_size}"
        )
    return Splits(dataset, train, validation, test)


def _held_out_examples(experiment, train):
    available = len(train[1])
    held_out = experiment.held_out
    examples = round(held_out * available) if isinstance(held_out, float) else held_out
    if not 0 < examples < available:
        raise ValueError(
            f"validation must hold out some, not all, of the {available} training images; try "
            f"holdout:0.1. Received: validation={experiment.validation!r}"
        )
    return examples


def make_strategy(name):
    """The tf.distribute strategy of this name; make one per process."""
    several_gpus = len(tf.config.list_physical_devices("GPU")) > 1
    if name == "mirrored" or (name == "auto" and several_gpus):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def build(experiment, splits):
    """The compiled distiller; its initial weights depend on the network and the seed alone."""
    dataset = splits.dataset
    keras.utils.set_random_seed(experiment.seed)
    network = models.build(
        experiment.model,
        num_classes=len(dataset.class_names),
        image_size=dataset.train_images.shape[1],
        mean=dataset.mean,
        std=dataset.std,
        **experiment.constructor_arguments,
    )
    distiller = InplaceDistiller(
        network,
        teachers=experiment.method,
        distillation_weight=experiment.distillation_weight,
        temperature=experiment.temperature,
        divergence=experiment.divergence,
    )
    distiller.compile(
        optimizer=_optimizer(experiment, splits.steps_per_epoch(experiment.batch_size))
    )
    distiller.optimizer.build(distiller.trainable_variables)
    return distiller


def _optimizer(experiment, steps_per_epoch):
    return optimizers.SGD(
        schedules.learning_rate(experiment, steps_per_epoch),
        momentum=experiment.momentum,
        nesterov=experiment.nesterov,
        weight_decay=experiment.weight_decay,
        exclude_from_weight_decay=_DECAY_EXCLUSIONS[experiment.decay],
    )
