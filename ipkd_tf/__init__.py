"""Flexible deep networks trained with in-place knowledge distillation and teacher assistants.

Importing the package registers its classes with Keras, so that `keras.models.load_model` opens the
networks it saved. What only some users need (matplotlib, tensorflow_datasets, scikit-learn) is
imported where it is used.
"""

from ipkd_tf import (
    data,
    distillation,
    evaluation,
    experiment,
    export,
    layers,
    losses,
    models,
    optimizers,
    profiling,
    teachers,
    training,
)
from ipkd_tf.distillation import InplaceDistiller
from ipkd_tf.experiment import Experiment
from ipkd_tf.version import __version__

__all__ = [
    "Experiment",
    "InplaceDistiller",
    "__version__",
    "data",
    "distillation",
    "evaluation",
    "experiment",
    "export",
    "layers",
    "losses",
    "models",
    "optimizers",
    "profiling",
    "teachers",
    "training",
]
