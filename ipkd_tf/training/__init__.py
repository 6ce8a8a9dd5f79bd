"""One experiment from its settings to its result, interrupted or not."""


def run(experiment):
    """Trains a network as an `Experiment` describes; see `ipkd_tf.training.loop.run`."""
    from ipkd_tf.training import loop  # settings alone must not wait for TensorFlow

    return loop.run(experiment)
