"""Learning rates over a run's steps, from settings given in epochs."""

import keras
from keras.optimizers.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    PolynomialDecay,
)

from ipkd_tf.output.checks import explained
from ipkd_tf.training import settings

_KERAS = {
    "cosine_restarts": CosineDecayRestarts,
    "inverse_time": InverseTimeDecay,
    "polynomial": PolynomialDecay,
}


def learning_rate(experiment, steps_per_epoch):
    """The schedule of an Experiment as a function of the optimizer's step, counted from 0."""
    highest, factor = experiment.learning_rate, experiment.learning_rate_drop_factor
    steps = experiment.epochs * steps_per_epoch
    if experiment.schedule in _KERAS:
        schedule = _keras_schedule(experiment, steps_per_epoch)
    elif experiment.schedule == "cosine":
        schedule = CosineDecay(highest, decay_steps=steps)
    elif experiment.schedule == "linear":
        schedule = PolynomialDecay(highest, decay_steps=steps, end_learning_rate=0.0)
    elif experiment.schedule == "exponential":
        schedule = ExponentialDecay(highest, steps_per_epoch, factor, staircase=True)
    else:
        drops = experiment.drop_epochs if experiment.schedule == "step" else ()
        # Keras asks for at least one boundary, and keeps the old value on the boundary itself,
        # while the drop belongs to an epoch's first step.
        boundaries = [epoch * steps_per_epoch - 1 for epoch in drops] or [0]
        factors = [factor**k for k in range(len(drops) + 1)] if drops else [1, 1]
        rates = [highest * factor for factor in factors]
        schedule = PiecewiseConstantDecay(boundaries, rates)
    if experiment.warmup_epochs:
        schedule = WarmUp(schedule, experiment.warmup_epochs * steps_per_epoch)
    return schedule


def _keras_schedule(experiment, steps_per_epoch):
    given = settings.parse_object(experiment.schedule_arguments)
    arguments = {
        name.replace("_epochs", "_steps"): value * steps_per_epoch
        if name.endswith("_epochs")
        else value
        for name, value in given.items()
    }
    expected = f"the arguments of schedule={experiment.schedule}"
    with explained(TypeError, expected, schedule_arguments=experiment.schedule_arguments):
        return _KERAS[experiment.schedule](experiment.learning_rate, **arguments)


@keras.saving.register_keras_serializable("ipkd_tf")
class WarmUp(LearningRateSchedule):
    """Another schedule times step / steps, up to 1: a linear rise from 0, as pytorch-cifar100's.

    Args:
        schedule: A `LearningRateSchedule`; it counts the steps of the rise too.
        steps: Length of the rise in optimizer steps.

    Example:
        >>> WarmUp(CosineDecay(0.1, decay_steps=10_000), steps=500)
    """

    def __init__(self, schedule, steps):
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step):
        risen = keras.ops.cast(step, "float32") / float(self.steps)
        return self.schedule(step) * keras.ops.minimum(risen, 1.0)

    def get_config(self):
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])
