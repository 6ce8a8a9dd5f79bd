"""Networks by name, by import path, and out of files."""

import importlib
import inspect
import os
import pathlib
import typing
import zipfile

import keras

from ipkd_tf.models import keras_hooks, trained
from ipkd_tf.models.cnmm import CNMM
from ipkd_tf.models.densenet import DenseNet
from ipkd_tf.models.hne_resnet import HNEResNet
from ipkd_tf.models.msdnet import MSDNet
from ipkd_tf.models.ofa_mobilenet_v3 import OFAMobileNetV3
from ipkd_tf.models.plain_cnn import PlainCNN
from ipkd_tf.models.resnet import ResNet
from ipkd_tf.models.slimmable_mobilenet_v1 import SlimmableMobileNetV1
from ipkd_tf.models.sp_resnet import SPResNet
from ipkd_tf.models.us_mobilenet_v1 import USMobileNetV1
from ipkd_tf.output.checks import check, explained

SMALL_BLOCKS = ((64, 2), (128, 2), (128, 1), (256, 2), (256, 1))

_IMAGENET = {"num_classes": 1000, "image_size": 224}

# Each name is a family and the arguments in which it differs from that family's defaults.
PRESETS = {
    "msdnet": (MSDNet, {}),
    "msdnet_small": (
        MSDNet,
        {"blocks": 4, "base": 2, "step": 1, "channels": 8, "growth": 8, "exit_channels": 64},
    ),
    "msdnet_imagenet": (
        MSDNet,
        {
            **_IMAGENET,
            **{"blocks": 5, "base": 4, "step": 4, "channels": 32, "growth": 16, "stem": "7x7"},
            **{"growth_factors": (1, 2, 4, 4), "bottleneck_factors": (1, 2, 4, 4)},
            "exit_channels": None,
        },
    ),
    "cnmm": (CNMM, {}),
    "cnmm_small": (CNMM, {"channels": (16, 32, 64), "nodes": 3}),
    "slimmable_mobilenet_v1": (SlimmableMobileNetV1, {}),
    "slimmable_mobilenet_v1_small": (SlimmableMobileNetV1, {"blocks": SMALL_BLOCKS}),
    "slimmable_mobilenet_v1_imagenet": (SlimmableMobileNetV1, {**_IMAGENET, "stem_strides": 2}),
    "hne_resnet": (HNEResNet, {}),
    "hne_resnet_small": (
        HNEResNet,
        {"stem": 16, "levels": ((32, 1), (32, 2), (32, 2), (32, 1)), "units": 1},
    ),
    "ofa_mobilenet_v3": (
        OFAMobileNetV3,
        {"named": ("k3_e3_d2", "k3_e4_d2", "k5_e4_d3", "k7_e6_d4")},
    ),
    "ofa_mobilenet_v3_small": (
        OFAMobileNetV3,
        {
            "named": ("k3_e2_d2", "k3_e3_d2", "k5_e3_d3", "k5_e4_d3"),
            "kernels": (3, 5),
            "expansions": (2, 3, 4),
            "depths": (2, 3),
            "stages": (
                (24, 2, False, "relu"),
                (40, 2, True, "hard_silu"),
                (80, 1, True, "hard_silu"),
            ),
            "head": (320, 480),
        },
    ),
    "ofa_mobilenet_v3_imagenet": (
        OFAMobileNetV3,
        {
            **_IMAGENET,
            "named": ("k3_e3_d2", "k3_e3_d4", "k5_e4_d4", "k7_e6_d4"),
            "stem_strides": 2,
            "stages": (
                (24, 2, False, "relu"),
                (40, 2, True, "relu"),
                (80, 2, False, "hard_silu"),
                (112, 1, True, "hard_silu"),
                (160, 2, True, "hard_silu"),
            ),
            "head": (960, 1280),
        },
    ),
    "plain_cnn_exits": (PlainCNN, {"exits": (2, 4, 6, 8)}),
    **{f"plain_cnn_{depth}": (PlainCNN, {"depth": depth}) for depth in (2, 4, 6, 8, 10)},
    **{f"resnet_{depth}": (ResNet, {"depth": depth}) for depth in (8, 14, 20, 26, 32, 44, 56, 110)},
    "densenet_bc_40_12": (DenseNet, {}),
    "sp_resnet20": (SPResNet, {}),
    "sp_resnet20_small": (SPResNet, {"depth": 8}),
    "us_mobilenet_v1": (USMobileNetV1, {}),
    "us_mobilenet_v1_imagenet": (USMobileNetV1, {**_IMAGENET, "stem_strides": 2}),
    "us_mobilenet_v1_small": (USMobileNetV1, {"blocks": SMALL_BLOCKS}),
}


def from_preset(name: str, **arguments: typing.Any) -> keras.Model:
    """Builds a flexible network by the name of a preset, or one of your own by import path.

    A name in `trained.names()` gives the trained network that comes with the package.

    Args:
        name: A name in `PRESETS` or of a trained network, or `package.module:Class` for a family of
            your own: any callable that returns a functional `keras.Model` with one logits output
            per sub-model, smallest first. It is imported, so it must not come from a file that
            somebody else wrote.
        **arguments: Constructor arguments; they take precedence over the preset's.

    Raises:
        ValueError: There is no such network, it does not take an argument, or its file is damaged.

    Example:
        >>> from_preset("msdnet", num_classes=100)
        >>> from_preset("msdnet_small_digits").submodel("exit_1")
        >>> from_preset("my_package.my_net:MyNet", num_classes=3)
    """
    if name in trained.names():
        expected = f"no arguments: {name} is trained, and has those it was trained with"
        check(not arguments, expected, arguments=arguments)
        return load(trained.find(name) / "best.keras")
    family, preset = PRESETS.get(name) or (imported(name), {})
    arguments = {**preset, **arguments}
    with explained(TypeError, f"arguments that {name} takes", arguments=arguments):
        inspect.signature(family).bind(**arguments)
    return family(**arguments)


def imported(path: str) -> typing.Any:
    """Returns what `package.module:Class` names; importing it makes the class known to Keras."""
    module, _, attribute = path.partition(":")
    check(attribute, f"a model from {', '.join(PRESETS)}, or package.module:Class", model=path)
    expected = "a class that can be imported, as package.module:Class, from here"
    with explained((ImportError, AttributeError), expected, model=path):
        return getattr(importlib.import_module(module), attribute)


def load(path: str | os.PathLike, family: str | None = None) -> keras.Model:
    """Loads a network that was saved as a .keras file; nothing in the file is imported or run.

    Args:
        path: The file, such as `runs/quickstart/seed0/best.keras`.
        family: `package.module:Class` of a network of your own family, unless its module is
            imported already. It must come from you, not from beside the file.

    Returns:
        The network, not compiled.

    Raises:
        ValueError: There is no such file, it is damaged or no .keras file, or Keras does not know
            a class in it.

    Example:
        >>> network = load("runs/quickstart/seed0/best.keras")
        >>> network = load("my_net.keras", family="my_package.my_net:MyNet")
    """
    path = pathlib.Path(path)
    if family is not None:
        imported(family)
    check(path.is_file(), "a .keras file, found none", path=str(path))
    check(
        zipfile.is_zipfile(path),
        "a whole .keras file; this one is cut off or of another kind: copy it again",
        path=str(path),
    )
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    # A damaged file shows in many ways: as a bad archive, bad JSON, missing weights.
    except Exception as error:
        reason = keras_hooks.load_error_cause(error)
        raise ValueError(
            "Expected a whole .keras file of classes that are imported; copy it again, or give "
            "family='package.module:Class', your own class "
            f"({type(error).__name__}: {reason[:200]}). Received: path={str(path)!r}"
        ) from error
