"""The parts of a run, made from an Experiment: strategy, network, distiller, optimizer."""

import math
import os
import re

import keras
import tensorflow as tf

from ipkd_tf import models
from ipkd_tf.distillation.distiller import InplaceDistiller
from ipkd_tf.models import flexible, keras_hooks
from ipkd_tf.output.checks import check, explained
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
        if getattr(network, "needs_recalibration", False):  # It begins with those of some images.
            network.recalibrate(experiment.submodel, [splits.train.images(slice(_FIRST_IMAGES))])
        network = flexible.cut(network, experiment.submodel)
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        synchronize(network, experiment.synchronized_batch_normalization)
    steps_per_epoch = splits.steps_per_epoch(experiment.batch_size)
    ramp = experiment.distillation_ramp * experiment.epochs * steps_per_epoch
    arguments = settings.parse_object(experiment.optimizer_arguments)
    accumulated = arguments.get("gradient_accumulation_steps")
    names = "distillation_weight temperature divergence label_weight teacher_dropout seed"
    distiller = InplaceDistiller(
        network,
        teachers=experiment.method,
        outside=teachers.load(experiment, splits),
        **{name: getattr(experiment, name) for name in names.split()},
        distillation_ramp_steps=math.ceil(ramp / (accumulated or 1)),
    )
    rows, given = distiller.teachers, {"method": experiment.method, "teacher": experiment.teacher}
    for number in range(len(experiment.teachers)):
        expected = f"teachers that teach; name t{number + 1} in the method or leave it out"
        check(rows[:, len(rows) + number].any(), expected, **given)
    distiller.compile(
        optimizer=_optimizer(experiment, steps_per_epoch, network),
        jit_compile=_JIT[experiment.jit],
    )
    return distiller


def _check_images(network, shape, model):
    """Refuses a network of one's own that takes other images than those of the data set."""
    takes = tuple(network.inputs[0].shape[1:])
    check(
        tf.TensorShape(takes).is_compatible_with(shape),
        f"a network for images {shape} (height, width, channels): its class is given their side or "
        "(height, width) as image_size, and a mean for each channel",
        model=model,
        takes=takes,
    )


def _check_can_be_opened(network, model):
    """Refuses a network of a family of one's own whose file could not be opened after training."""
    expected = "a network that can be made again from its config: give its class "
    expected += "@keras.saving.register_keras_serializable() and a get_config that returns all "
    expected += "arguments of its constructor"
    with explained(Exception, expected, model=model):  # whatever the family's own code raises
        config = keras.saving.serialize_keras_object(network)
        again = keras.saving.deserialize_keras_object(config)
        check(_shapes(again) == _shapes(network), "the same shapes", again=_shapes(again))


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
    expected = f"arguments that the optimizer {experiment.optimizer} takes"
    given = experiment.optimizer_arguments
    with explained((TypeError, ValueError), expected, optimizer_arguments=given):
        optimizer = kind(**arguments | settings.parse_object(given))
    if exclusions and not ours:
        # By name Keras would look at TensorFlow's names, which end in ":0".
        weights = network.trainable_variables
        excluded = [w for w in weights if any(re.search(one, w.path) for one in exclusions)]
        optimizer.exclude_from_weight_decay(var_list=excluded)
    return optimizer
