"""Stochastic gradient descent with momentum and weight decay exactly as PyTorch computes it."""

import math
import re
import typing
from collections.abc import Sequence

import keras
import tensorflow as tf

from ipkd_tf.models import keras_hooks
from ipkd_tf.output.checks import check, explained


@keras.saving.register_keras_serializable("ipkd_tf")
class SGD(keras.optimizers.SGD):
    """SGD whose velocity holds no learning rate and whose weight decay is part of the gradient.

    For a weight w with gradient g, velocity v and learning rate lr, one step is

        g = g + weight_decay * w
        v = momentum * v + g
        w = w - lr * (g + momentum * v if nesterov else v)

    as in `torch.optim.SGD`, which the reference implementations use. `keras.optimizers.SGD` differs
    in two ways: its velocity contains the learning rate, so that it goes on at the old rate after
    a drop, and its weight decay bypasses the velocity (about ten times weaker at momentum 0.9).

    Args:
        learning_rate: number >= 0, a `LearningRateSchedule`, or a callable without arguments.
        momentum: number in [0, 1).
        nesterov: whether to look ahead along the velocity; no effect without momentum.
        weight_decay: number >= 0. Kept as `coupled_weight_decay`; the attribute `weight_decay`
            is Keras's decoupled decay and stays None.
        exclude_from_weight_decay: regular expressions; a variable in whose path, such as
            `"block_1/normalization/gamma"`, one of them is found does not decay. Unlike those
            of Keras they are saved with the optimizer.
        **kwargs: other arguments of `keras.optimizers.SGD`, such as `global_clipnorm`, `use_ema`.

    Raises:
        ValueError: a number is out of range, or a pattern is not a regular expression.

    Example:
        >>> SGD(0.1, momentum=0.9, weight_decay=1e-4, exclude_from_weight_decay=["gamma", "bias"])
    """

    def __init__(
        self,
        learning_rate: typing.Any = 0.1,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = 0.0,
        exclude_from_weight_decay: Sequence[str] = (),
        **kwargs: typing.Any,
    ):
        if isinstance(learning_rate, int | float):
            learning_rate = _check_number("learning_rate", learning_rate)
        momentum = _check_number("momentum", momentum, below=1.0)
        super().__init__(learning_rate, momentum=momentum, nesterov=nesterov, **kwargs)
        self.coupled_weight_decay = _check_number("weight_decay", weight_decay)
        expected = "a list of regular expressions; put one in brackets"
        received = {"exclude_from_weight_decay": exclude_from_weight_decay}
        check(not isinstance(exclude_from_weight_decay, str), expected, **received)
        with explained((re.error, TypeError), expected, **received):
            patterns = [re.compile(pattern).pattern for pattern in exclude_from_weight_decay]
        self.weight_decay_exclusions = tuple(patterns)

    def build(self, variables):
        """Creates one velocity per variable (none if momentum is 0) and fixes which decay."""
        if self.built:
            return
        super().build(variables)
        self._weight_decays = tuple(
            0.0
            if any(re.search(pattern, variable.path) for pattern in self.weight_decay_exclusions)
            else self.coupled_weight_decay
            for variable in variables
        )

    def update_step(self, gradient, variable, learning_rate):
        """Applies one step to one variable, `tf.Variable` of the current replica."""
        index = keras_hooks.variable_index(self, variable)
        learning_rate = tf.cast(learning_rate, variable.dtype)
        gradient = tf.cast(gradient, variable.dtype)
        if self._weight_decays[index]:
            gradient += self._weight_decays[index] * variable
        if not self.momentum:
            self.assign_sub(variable, learning_rate * gradient)
            return
        # TensorFlow's own kernel computes PyTorch's rule in a single pass over the weights.
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=keras_hooks.resource(self.momentums[index]),
            lr=learning_rate,
            grad=gradient,
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """Refuses Keras's way to name exclusions, which a saved optimizer would forget."""
        raise NotImplementedError(
            "Pass exclude_from_weight_decay=[...] to the constructor instead, which saves it. "
            f"Received: var_list={var_list}, var_names={var_names}"
        )

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "weight_decay": self.coupled_weight_decay,
            "exclude_from_weight_decay": list(self.weight_decay_exclusions),
        }


def _check_number(name, value, below=math.inf):
    check(0 <= value < below, f"a number in [0, {below:g})", **{name: value})
    return float(value)
