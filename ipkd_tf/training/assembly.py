"""The parts of a run, made from an Experiment: strategy, data, network, distiller, optimizer."""

import dataclasses
import os

import keras
import tensorflow as tf

from ipkd_tf import data, models
from ipkd_tf.distillation.distiller import InplaceDistiller
from ipkd_tf.training import initialization, optimizers, schedules

_DECAY_EXCLUSIONS = {"all": (), "kernels": ("(gamma|beta|bias)$", "depthwise")}
_JIT = {"auto": "auto", "on": True, "off": False}


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
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: len(part) for name, part in parts.items()}


def read_splits(experiment, progress=None):
    """Reads the data set and holds out the images that choose the best epoch.

    The parts are the same for every seed of the experiment, so seeds compare training alone.
    """
    dataset = data.read(
        experiment.dataset,
        data_dir=experiment.data_dir or None,
        image_size=experiment.image_size or None,
        train_examples=experiment.train_examples or None,
        test_examples=experiment.test_examples or None,
        progress=progress,
    )
    train, validation = dataset.train, dataset.test
    if experiment.held_out is not None:
        count = _held_out_examples(experiment, len(train))
        train, validation = data.hold_out(train, count, seed=0, class_names=dataset.class_names)
    if len(train) < experiment.batch_size:
        raise ValueError(
            f"batch_size must be at most the {len(train)} training images. "
            f"Received: batch_size={experiment.batch_size}"
        )
    return Splits(dataset, train, validation, dataset.test)


def _held_out_examples(experiment, available):
    held_out = experiment.held_out
    examples = round(held_out * available) if isinstance(held_out, float) else held_out
    if not 0 < examples < available:
        raise ValueError(
            f"validation must hold out some, not all, of the {available} training images; try "
            f"holdout:0.1. Received: validation={experiment.validation!r}"
        )
    return examples


def make_strategy(name):
    """The tf.distribute strategy of this name; make one per process, before anything else.

    Raises:
        ValueError: `multi_worker` without the environment variable TF_CONFIG.
    """
    if name == "auto":
        several_gpus = len(tf.config.list_physical_devices("GPU")) > 1
        name = "multi_worker" if "TF_CONFIG" in os.environ else "mirrored" if several_gpus else ""
    if name == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise ValueError(
                "TF_CONFIG must list the workers of the cluster and say which one this is (see "
                "the README, Several hosts). Received: strategy='multi_worker'"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy() if name == "mirrored" else tf.distribute.get_strategy()


def synchronize(network, synchronized):
    """Sets whether batch normalisation takes its statistics over all replicas' images."""
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized


def build(experiment, splits):
    """The compiled distiller; its initial weights depend on the network and the seed alone."""
    dataset = splits.dataset
    keras.utils.set_random_seed(experiment.seed)
    network = models.from_preset(
        experiment.model,
        num_classes=len(dataset.class_names),
        image_size=dataset.train.image_shape[0],
        mean=dataset.mean,
        std=dataset.std,
        **experiment.constructor_arguments,
    )
    if experiment.initialize_from:
        initialization.initialize_from(network, experiment.initialize_from, experiment.dataset)
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        synchronize(network, experiment.synchronized_batch_normalization)
    distiller = InplaceDistiller(
        network,
        teachers=experiment.method,
        distillation_weight=experiment.distillation_weight,
        temperature=experiment.temperature,
        divergence=experiment.divergence,
    )
    distiller.compile(
        optimizer=_optimizer(experiment, splits.steps_per_epoch(experiment.batch_size)),
        jit_compile=_JIT[experiment.jit],
    )
    return distiller


def _optimizer(experiment, steps_per_epoch):
    return optimizers.SGD(
        schedules.learning_rate(experiment, steps_per_epoch),
        momentum=experiment.momentum,
        nesterov=experiment.nesterov,
        weight_decay=experiment.weight_decay,
        exclude_from_weight_decay=_DECAY_EXCLUSIONS[experiment.decay],
        global_clipnorm=experiment.clip_norm or None,
        use_ema=experiment.ema > 0,
        ema_momentum=experiment.ema or 0.99,
    )
