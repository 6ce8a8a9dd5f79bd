"""Teachers beside the sub-models themselves, and which of all teachers a step does without."""

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.distillation import losses
from ipkd_tf.models import flexible, keras_hooks, naming
from ipkd_tf.output.checks import check


class OutsideTeachers:
    """Frozen networks beside the one that is trained, for the columns of W after its sub-models.

    No Keras object, so that a distiller that holds it takes none of their weights for its own.
    Copies are made, which stay what they are and lie on all devices of the strategy in scope. A
    model may also end in a softmax; of several outputs the last counts, the largest. `virtual`
    names further teachers, made of the network itself.
    """

    def __init__(self, models, network, virtual=()):
        models = [_with_logits(model) for model in models]
        for number, model in enumerate(models, 1):
            _check_fit(model, f"t{number}", network)
        self.models = [flexible.cut(model, -1) for model in models]
        self._network, self._virtual = network, virtual

    def logits(self, images, own, optimizer):
        """Their logits in inference mode, a list of `[batch, classes]`; `own` are the network's."""
        virtual = {
            "mean": lambda: losses.mean_logits(own),
            "ema": lambda: averaged_logits(self._network, optimizer, images),
        }
        frozen = [model(images, training=False) for model in self.models]
        return frozen + [virtual[name]() for name in self._virtual]


def _with_logits(model):
    """The model; in place of one with probabilities, one with their logarithms as logits."""
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    outputs = getattr(model, "outputs", None)
    if not outputs or naming.last_activation(outputs[-1])[1] != "softmax":
        return model
    probabilities = keras.ops.maximum(outputs[-1], np.finfo(np.float32).tiny)
    return keras.Model(model.inputs, keras.ops.log(probabilities), name=model.name)


def _check_fit(model, name, network):
    flexible.names(model)  # refuses what gives no logits
    given, asked = (
        [*(image.shape for image in one.inputs), one.outputs[-1].shape] for one in (model, network)
    )
    check(
        len(given) == len(asked)
        and all(tf.TensorShape(a).is_compatible_with(b) for a, b in zip(given, asked, strict=True)),
        "an outside teacher that takes the network's images and tells its classes apart, "
        f"{asked[:-1]} -> {asked[-1]}; train one on the same data",
        teacher=f"{name} with {given[:-1]} -> {given[-1]}",
    )


def averaged_logits(network, optimizer, images):
    """Logits of the largest sub-model with the moving averages of its weights, in inference mode.

    Before the first step, when the optimizer has none yet, the weights themselves count.
    """
    began = keras.ops.convert_to_tensor(keras_hooks.inner_optimizer(optimizer).iterations) > 0
    averages = keras_hooks.moving_averages(optimizer)
    weights = [
        tf.where(began, *map(keras.ops.convert_to_tensor, pair))
        for pair in zip(averages, network.trainable_variables, strict=True)
    ]
    others = network.non_trainable_variables
    logits, _ = network.stateless_call(weights, others, images, training=False)
    return keras.tree.flatten(logits)[-1]


def check_dropout(count, weights):
    """Returns how many teachers each step does without; ValueError unless some are left."""
    teaching = int(weights.any(axis=0).sum())
    check(
        isinstance(count, int) and 0 <= count < max(teaching, 1),
        f"a number of teachers below the {teaching} that there are, 0 for none",
        teacher_dropout=count,
    )
    return count


def draw_kept(weights, dropped, seed, step):
    """1 for each column of W that teaches in a step, 0 for the `dropped` ones; None: all teach."""
    if not dropped:
        return None
    teaching = np.flatnonzero(weights.any(axis=0))
    draws = tf.random.stateless_uniform([len(teaching)], [seed, tf.cast(step, tf.int32)])
    out = tf.gather(teaching, tf.argsort(draws)[:dropped])
    return 1.0 - tf.reduce_sum(tf.one_hot(out, weights.shape[1]), axis=0)
