"""Flexible deep networks trained with in-place knowledge distillation and teacher assistants.

Importing the package starts nothing heavy: what stands here is imported when it is first used.
"""

import importlib
import typing

from ipkd_tf.version import __version__

# ruff: noqa: F401
if typing.TYPE_CHECKING:  # A type checker does not run `__getattr__`.
    from ipkd_tf import data, deployment, distillation, models, training
    from ipkd_tf.deployment import early_exit, export
    from ipkd_tf.distillation import losses, teachers
    from ipkd_tf.distillation.distiller import InplaceDistiller
    from ipkd_tf.models import layers
    from ipkd_tf.training import evaluation, optimizers
    from ipkd_tf.training.experiment import Experiment

# Public name: the module it is, or the module and the name inside it.
_PUBLIC = {
    "Experiment": "ipkd_tf.training.experiment:Experiment",
    "InplaceDistiller": "ipkd_tf.distillation.distiller:InplaceDistiller",
    "data": "ipkd_tf.data",
    "deployment": "ipkd_tf.deployment",
    "distillation": "ipkd_tf.distillation",
    "early_exit": "ipkd_tf.deployment.early_exit",
    "evaluation": "ipkd_tf.training.evaluation",
    "export": "ipkd_tf.deployment.export",
    "layers": "ipkd_tf.models.layers",
    "losses": "ipkd_tf.distillation.losses",
    "models": "ipkd_tf.models",
    "optimizers": "ipkd_tf.training.optimizers",
    "teachers": "ipkd_tf.distillation.teachers",
    "training": "ipkd_tf.training",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = importlib.import_module(module)
    return getattr(value, attribute) if attribute else value


def __dir__():
    return __all__
