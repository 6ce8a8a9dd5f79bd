"""Tiny networks of both families whose normalisation statistics are not the initial ones."""

import functools

import numpy as np

from ipkd_tf import models


@functools.cache
def network(family):
    """An untrained network of 2 sub-models for 16 x 16 images of 3 classes; do not change it."""
    settings = {
        "msdnet_small": {"blocks": 2, "base": 1, "step": 1, "exit_channels": 16},
        "slimmable_mobilenet_v1_small": {"widths": (0.5, 1.0), "blocks": ((64, 2), (512, 2))},
    }
    made = models.from_preset(family, num_classes=3, image_size=16, **settings[family])
    shake(made)
    return made


def shake(model):
    """Gives batch normalisations and biases values other than 0 and 1."""
    generator = np.random.default_rng(0)
    for variable in model.variables:
        if variable.path.endswith(("moving_variance", "gamma")):
            variable.assign(generator.uniform(0.5, 2.0, variable.shape))
        elif variable.path.endswith(("moving_mean", "beta", "bias")):
            variable.assign(generator.normal(0.0, 0.5, variable.shape))


def images(count=8, side=16):
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), np.uint8)


def weight_bytes(model):
    return sum(weight.numpy().nbytes for weight in model.weights)
