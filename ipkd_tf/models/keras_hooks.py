"""Every private name of Keras and TensorFlow that this package leans on, and the check of both.

Each has a test in tests/models/test_keras_hooks.py that fails when it is gone or means another
thing: an override that nobody calls any more would fail in silence.
"""

try:
    import keras
except ImportError as error:
    raise ImportError(
        "ipkd_tf runs on Keras with TensorFlow: set KERAS_BACKEND=tensorflow. "
        f"Received: a backend that is not installed ({error})"
    ) from error
import tensorflow as tf
from keras.src.trainers import compile_utils

_SETUP = {"backend": "tensorflow", "image_data_format": "channels_last", "floatx": "float32"}


def check_setup():
    """Raises ImportError unless Keras is set up as the package needs it."""
    for setting, expected in _SETUP.items():
        value = getattr(keras.config, setting)()
        if value != expected:
            raise ImportError(
                f"ipkd_tf needs {setting} {expected}; set it by KERAS_BACKEND or in "
                f"~/.keras/keras.json. Received: {setting}={value!r}"
            )


def flatten_layers(layer):
    """Yields a layer and all layers inside it, at any depth."""
    return layer._flatten_layers()


def producer(tensor):
    """Returns the operation that made a symbolic tensor, and which of its outputs that is."""
    history = tensor._keras_history
    return history.operation, history.tensor_index


def load_error_cause(error):
    """The first line of what Keras's loading says after a page of configuration."""
    return str(error).rpartition("Exception encountered:")[-1].strip().partition("\n")[0]


class Trainer(keras.Model):
    """A model that is built when constructed, and whose steps run under every strategy."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: Keras's would fail where replicas' first batches differ in size."""

    def _make_function(self, step_function):
        """Keras's training or test function; one of its own for several hosts, where that fails.

        MultiWorkerMirroredStrategy cannot reduce the logs (keras-team/keras#20585): they are the
        first local replica's here; `fit` and `evaluate` read the metrics anyway.
        """
        strategy = self.distribute_strategy
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return super()._make_function(step_function)

        def step(batch):
            logs = strategy.run(step_function, args=(batch,))
            return {k: strategy.experimental_local_results(v)[0] for k, v in logs.items()}

        if not self.run_eagerly:
            step = tf.function(step, reduce_retracing=True, jit_compile=self.jit_compile)

        def steps(iterator):
            logs = None
            for _, batch in zip(range(self.steps_per_execution), iterator, strict=False):
                logs = step(batch)
            if logs is None:
                raise StopIteration
            return logs

        return steps


class MonitoredMetric(compile_utils.MetricsList):
    """A metric where callbacks without a `mode` look for its direction, `up` or `down`."""

    def __init__(self, metric, direction):
        super().__init__([metric], name=metric.name)
        metric._direction = direction

    def result(self):
        return self.metrics[0].result()


def inner_optimizer(optimizer):
    """The optimizer that a LossScaleOptimizer wraps, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def sum_over_replicas(optimizer, gradients):
    """Gradients summed over replicas first, where the optimizer clips or scales the loss.

    Keras looks at each replica's own before it adds them up: one may clip or skip a step that
    another takes. Here all clip the sum, divided, for the optimizer adds them up again.
    """
    replica = tf.distribute.get_replica_context()
    replicas = replica.num_replicas_in_sync
    inner = inner_optimizer(optimizer)
    scaling = inner is not optimizer
    clips = inner.clipnorm or inner.global_clipnorm or inner.clipvalue
    if replicas == 1 or not (clips or scaling):
        return gradients
    # The scale is a power of two: to divide by it and multiply again loses no bit.
    scale = tf.convert_to_tensor(optimizer.dynamic_scale) if scaling else 1.0
    total = replica.all_reduce("SUM", gradients)
    clipped = inner._clip_gradients([gradient / scale for gradient in total])
    return [gradient * scale / replicas for gradient in clipped]


def moving_averages(optimizer):
    """The averages that an optimizer with `use_ema` keeps, one per trainable variable, in order."""
    return inner_optimizer(optimizer)._model_variables_moving_average


def variable_index(optimizer, variable):
    """Number of a `tf.Variable` of the current replica among those that the optimizer trains."""
    return optimizer._get_variable_index(variable)


def resource(variable):
    """Handle of a Keras variable's storage on the current replica, for TensorFlow's raw kernels."""
    return variable.value.handle
