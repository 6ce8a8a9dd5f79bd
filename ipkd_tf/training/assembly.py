"""The parts of a run, made from an Experiment: strategy, network, distiller, optimizer."""

import math
import os
import re

import keras
import tensorflow as tf

from ipkd_tf import models
from ipkd_tf.distillation.distiller import InplaceDistiller
from ipkd_tf.models import flexible, keras_hooks
from ipkd_tf.training import optimizers, schedules, settings, teachers, workers
from ipkd_tf.training.sigterm import default_signals

_DECAY_EXCLUSIONS = {"all": (), "kernels": ("(gamma|beta|bias)$", "depthwise")}
_FIRST_IMAGES = 64
_JIT = {"auto": "auto", "on": True, "off": False}


def make_strategy(name):
    """The tf.distribute strategy of this name; make one per process, before anything else."""
    if name == "auto":
        several_gpus = len(tf.config.list_physical_devices("GPU")) > 1
        name = "multi_worker" if "TF_CONFIG" in os.environ else "mirrored" if several_gpus else ""
    if name == "multi_worker":
        workers.wait_for_peers(*workers.read_cluster())
        with default_signals():
            return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy() if name == "mirrored" else tf.distribute.get_strategy()


def synchronize(network, synchronized):
    """Sets whether batch normalisation takes its statistics over all replicas' images."""
    for layer in keras_hooks.flatten_layers(network):
        if hasattr(layer, "synchronized"):
            layer.synchronized = synchronized


def build(experiment, splits):
    """The compiled distiller; its initial weights depend on the network and the seed alone."""
    dataset = splits.dataset
    height, width, _ = shape = dataset.train.image_shape
    keras.utils.set_random_seed(experiment.seed)
    network = models.from_preset(
        experiment.model,
        num_classes=len(dataset.class_names),
        image_size=height if height == width else (height, width),
        mean=dataset.mean,
        std=dataset.std,
        **experiment.constructor_arguments,
    )
    _check_images(network, shape, experiment.model)
    if experiment.model not in models.PRESETS:
        _check_can_be_opened(network, experiment.model)
    if experiment.submodel:
        network = _cut(network, experiment.submodel, splits.train.images(slice(_FIRST_IMAGES)))
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        synchronize(network, experiment.synchronized_batch_normalization)
    steps_per_epoch = splits.steps_per_epoch(experiment.batch_size)
    distiller = InplaceDistiller(
        network,
        teachers=experiment.method,
        distillation_weight=experiment.distillation_weight,
        temperature=experiment.temperature,
        divergence=experiment.divergence,
        outside=teachers.load(experiment, splits),
        teacher_dropout=experiment.teacher_dropout,
        seed=experiment.seed,
        label_weight=experiment.label_weight,
        distillation_ramp_steps=_ramp_steps(experiment, steps_per_epoch),
    )
    _check_every_teacher_teaches(distiller, experiment)
    distiller.compile(
        optimizer=_optimizer(experiment, steps_per_epoch, network),
        jit_compile=_JIT[experiment.jit],
    )
    return distiller


def _ramp_steps(experiment, steps_per_epoch):
    """Optimizer steps of the rise of lambda; a step may accumulate the gradients of batches."""
    arguments = settings.parse_object(experiment.optimizer_arguments)
    batches = experiment.distillation_ramp * experiment.epochs * steps_per_epoch
    return math.ceil(batches / (arguments.get("gradient_accumulation_steps") or 1))


def _cut(network, submodel, images):
    """One sub-model with its initial weights; shared statistics begin as those of some images."""
    if getattr(network, "needs_recalibration", False):
        network.recalibrate(submodel, [images])
    return flexible.cut(network, submodel)


def _check_every_teacher_teaches(distiller, experiment):
    rows = distiller.teachers
    for number in range(len(experiment.teachers)):
        if not rows[:, len(rows) + number].any():
            raise ValueError(
                f"Every teacher must teach; name t{number + 1} in the method or leave it out. "
                f"Received: method={experiment.method!r}, teacher={experiment.teacher!r}"
            )


def _check_images(network, shape, model):
    """Refuses a network of one's own that takes other images than those of the data set."""
    if not tf.TensorShape(network.inputs[0].shape[1:]).is_compatible_with(shape):
        raise ValueError(
            f"the network must take images {shape} (height, width, channels): its class is given "
            "their side or (height, width) as image_size, and a mean for each channel. "
            f"Received: model={model!r}, which takes {network.inputs[0].shape[1:]}"
        )


def _check_can_be_opened(network, model):
    """Refuses a network of a family of one's own whose file could not be opened after training."""
    try:
        config = keras.saving.serialize_keras_object(network)
        again = keras.saving.deserialize_keras_object(config)
        problem = "other shapes" if _shapes(again) != _shapes(network) else None
    except Exception as error:  # whatever the family's own code raises
        problem = f"{type(error).__name__}: {keras_hooks.load_error_cause(error)[:200]}"
    if problem:
        raise ValueError(
            f"the network cannot be made again from its config ({problem}); give its class "
            "@keras.saving.register_keras_serializable() and a get_config that returns all "
            f"arguments of its constructor. Received: model={model!r}"
        )


def _shapes(network):
    return [tuple(x.shape) for x in (*network.inputs, *network.outputs, *network.weights)]


def _optimizer(experiment, steps_per_epoch, network):
    arguments = {
        "learning_rate": schedules.learning_rate(experiment, steps_per_epoch),
        "weight_decay": experiment.weight_decay,
        "global_clipnorm": experiment.clip_norm or None,
        "use_ema": experiment.ema > 0,
        "ema_momentum": experiment.ema or 0.99,
    }
    exclusions = _DECAY_EXCLUSIONS[experiment.decay]
    if ours := experiment.optimizer == "sgd":
        kind = optimizers.SGD
        arguments |= {"momentum": experiment.momentum, "nesterov": experiment.nesterov}
        arguments["exclude_from_weight_decay"] = exclusions
    else:
        names = {name.lower(): name for name in dir(keras.optimizers)}
        kind = getattr(keras.optimizers, names[experiment.optimizer])
    try:
        optimizer = kind(**arguments | settings.parse_object(experiment.optimizer_arguments))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected arguments that the optimizer {experiment.optimizer} takes ({error}). "
            f"Received: optimizer_arguments={experiment.optimizer_arguments}"
        ) from error
    if exclusions and not ours:
        # By name Keras would look at TensorFlow's names, which end in ":0".
        weights = network.trainable_variables
        excluded = [w for w in weights if any(re.search(one, w.path) for one in exclusions)]
        optimizer.exclude_from_weight_decay(var_list=excluded)
    return optimizer
