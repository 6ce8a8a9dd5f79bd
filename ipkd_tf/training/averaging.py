"""Moving averages of the weights, kept by the optimizer, in the place of the weights."""

import contextlib

import keras

from ipkd_tf.models import keras_hooks


@contextlib.contextmanager
def averaged(model):
    """Inside the block a compiled model has the moving averages as weights; then its own again.

    Nothing happens with an optimizer that keeps none (`use_ema`). Unlike
    `keras.callbacks.SwapEMAWeights`, which adds and subtracts, it brings back every bit.
    """
    if not keras_hooks.inner_optimizer(model.optimizer).use_ema:
        yield
        return
    own = _values(model.trainable_variables)
    _assign(model.trainable_variables, _values(keras_hooks.moving_averages(model.optimizer)))
    try:
        yield
    finally:
        _assign(model.trainable_variables, own)


class EvaluateAverages(keras.callbacks.Callback):
    """Evaluates the averages; training, in another `fit` too, goes on with the weights."""

    def __init__(self):
        super().__init__()
        self._swapped = contextlib.ExitStack()
        self._own = None

    def on_test_begin(self, logs=None):
        self._swapped.enter_context(averaged(self.model))

    def on_test_end(self, logs=None):
        self._swapped.close()

    def on_epoch_end(self, epoch, logs=None):
        self._own = _values(self.model.trainable_variables)

    def on_train_end(self, logs=None):
        if self._own is not None:
            _assign(self.model.trainable_variables, self._own)


def _values(variables):
    return [variable.numpy() for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
