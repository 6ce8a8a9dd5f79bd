"""What is timed: one optimizer step of one network, and its loss alone."""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf import models
from ipkd_tf.distillation import losses
from ipkd_tf.distillation.distiller import InplaceDistiller
from ipkd_tf.training import optimizers


@dataclasses.dataclass(frozen=True)
class Workload:
    """Everything the time of a step depends on, apart from the machine.

    Attributes:
        model: name or import path, as `models.from_preset` takes it.
        method: teachers, as `InplaceDistiller` takes them.
        batch_size: images per step.
        num_classes: classes.
        image_size: height and width of the images, pixels.
        arguments: further arguments of the network's constructor.
        precision: Keras dtype policy.
        jit_compile: `auto` (Keras decides), `true` or `false`: whether XLA compiles the step.
        steps_per_execution: steps per call from Python.
    """

    model: str = "msdnet"
    method: str = "ipkd_ta_m"
    batch_size: int = 64
    num_classes: int = 10
    image_size: int = 32
    arguments: dict = dataclasses.field(default_factory=dict)
    precision: str = "float32"
    jit_compile: str = "auto"
    steps_per_execution: int = 1

    def network(self):
        """Builds the network."""
        with _dtype_policy(self.precision):
            return models.from_preset(
                self.model,
                num_classes=self.num_classes,
                image_size=self.image_size,
                **self.arguments,
            )

    def distiller(self):
        """Builds the network and its distiller, compiled."""
        network = self.network()
        with _dtype_policy(self.precision):  # of a float16 distiller Keras scales the loss
            distiller = InplaceDistiller(network, teachers=self.method)
            distiller.compile(
                optimizer=optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-4),
                jit_compile=_JIT_COMPILE[self.jit_compile],
                steps_per_execution=self.steps_per_execution,
            )
        return distiller

    def images_and_labels(self, examples=None):
        """Random images uint8 `[examples, size, size, 3]` and labels int32; a batch by default."""
        generator = np.random.default_rng(0)
        examples = examples or self.batch_size
        shape = (examples, self.image_size, self.image_size, 3)
        images = generator.integers(0, 256, shape, dtype=np.uint8)
        return images, generator.integers(0, self.num_classes, examples, dtype=np.int32)


_JIT_COMPILE = {"auto": "auto", "true": True, "false": False}


@contextlib.contextmanager
def _dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def training_step(workload, distiller):
    """Returns a function that runs `steps_per_execution` steps as `fit` does, and gives the logs.

    The batch is always the same one, copied from the host for each step as a pipeline would.
    """
    distiller.make_train_function()
    batch = tf.data.Dataset.from_tensors(workload.images_and_labels())
    batches = iter(batch.repeat().prefetch(2))
    return lambda: distiller.train_function(batches)


def wait_for_step(logs):
    """Returns when the step that gave these logs is done."""
    return float(logs["loss"])


def loss_step(workload, submodels):
    """Returns a function that computes the loss and its gradient for random logits, no network."""
    _, labels = workload.images_and_labels()
    shape = (workload.batch_size, workload.num_classes)
    generator = np.random.default_rng(0)
    logits = [
        tf.Variable(generator.normal(size=shape).astype(np.float32)) for _ in range(submodels)
    ]

    @tf.function
    def loss_and_gradients():
        with tf.GradientTape() as tape:
            loss = losses.inplace_distillation_loss(labels, logits, workload.method, 0.8, 5.0)
        return loss, tape.gradient(loss, logits)

    return loss_and_gradients


def wait_for_loss(result):
    """Returns when loss and gradients are computed."""
    loss, gradients = result
    return float(loss), gradients[-1].numpy()
