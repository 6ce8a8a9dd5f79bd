"""Families of flexible networks, built by name."""

import importlib
import inspect

from ipkd_tf.models.flexible import FlexibleNetwork
from ipkd_tf.models.loading import load
from ipkd_tf.models.msdnet import MSDNet
from ipkd_tf.models.slimmable_mobilenet_v1 import SlimmableMobileNetV1

SMALL_BLOCKS = ((64, 2), (128, 2), (128, 1), (256, 2), (256, 1))

# Each name is a family and the arguments in which it differs from that family's defaults.
PRESETS = {
    "msdnet": (MSDNet, {}),
    "msdnet_small": (
        MSDNet,
        {"blocks": 4, "base": 2, "step": 1, "channels": 8, "growth": 8, "exit_channels": 64},
    ),
    "slimmable_mobilenet_v1": (SlimmableMobileNetV1, {}),
    "slimmable_mobilenet_v1_small": (SlimmableMobileNetV1, {"blocks": SMALL_BLOCKS}),
}

__all__ = [
    "PRESETS",
    "FlexibleNetwork",
    "MSDNet",
    "SlimmableMobileNetV1",
    "build",
    "imported",
    "load",
]


def build(name_or_import_path, **arguments):
    """Builds a flexible network by the name of a preset or by import path.

    Args:
        name_or_import_path: A name in `PRESETS`, or `package.module:Class` for a family of your
            own: any callable that returns a functional `keras.Model` with one logits output per
            sub-model, smallest first.
        **arguments: Constructor arguments; they take precedence over the preset's.

    Raises:
        ValueError: There is no such network, or it does not take one of the arguments.

    Example:
        >>> build("msdnet", num_classes=100)
        >>> build("my_package.my_net:MyNet", num_classes=3)
    """
    family, preset = PRESETS.get(name_or_import_path) or (imported(name_or_import_path), {})
    arguments = {**preset, **arguments}
    try:
        inspect.signature(family).bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"Expected arguments that {name_or_import_path} takes ({error}). "
            f"Received: arguments={arguments}"
        ) from error
    return family(**arguments)


def imported(path):
    """What `package.module:Class` names; importing it makes the class known to Keras.

    Raises:
        ValueError: There is no such thing.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute) if attribute else _unknown(path)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"Expected a class that can be imported, as package.module:Class, from here ({error}). "
            f"Received: model={path!r}"
        ) from error


def _unknown(name):
    raise ValueError(
        f"Expected a model from {', '.join(PRESETS)}, or package.module:Class. "
        f"Received: model={name!r}"
    )
