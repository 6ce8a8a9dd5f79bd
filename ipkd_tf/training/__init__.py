"""One experiment from its settings to its result, interrupted or not."""

import typing

if typing.TYPE_CHECKING:
    from ipkd_tf.training.experiment import Experiment


def run(experiment: "Experiment") -> dict | None:
    """Trains a network as an `Experiment` describes; see `ipkd_tf.training.loop.run`."""
    from ipkd_tf.training import loop  # settings alone must not wait for TensorFlow

    return loop.run(experiment)
