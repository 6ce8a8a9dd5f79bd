"""Tiny networks of three sub-models, and early exit worked out from their logits."""

import functools

import keras
import numpy as np

from ipkd_tf import models
from ipkd_tf.deployment.early_exit import EarlyExitClassifier
from tests.deployment.export import networks

FAMILIES = ("msdnet_small", "slimmable_mobilenet_v1_small")
IMAGES = networks.images(24)


@functools.cache
def network(family):
    """An untrained network of 3 sub-models for 16 x 16 images of 3 classes; do not change it."""
    settings = {
        "msdnet_small": {"blocks": 3, "base": 1, "step": 1, "exit_channels": 16},
        "slimmable_mobilenet_v1_small": {"widths": (0.5, 0.75, 1.0), "blocks": ((64, 2), (64, 2))},
    }
    keras.utils.set_random_seed(0)
    made = models.from_preset(family, num_classes=3, image_size=16, **settings[family])
    networks.shake(made)
    return made


@functools.cache
def classifier(family="msdnet_small", copy=True):
    return EarlyExitClassifier(network(family), [0.5, 0.5], copy=copy)


def probabilities(network, temperatures=(1.0, 1.0, 1.0), images=IMAGES):
    """Softmax of the logits of images, float64 `[sub-models, images, classes]`."""
    logits = np.stack(network(images)) / np.reshape(temperatures, (-1, 1, 1))
    exponentials = np.exp(logits.astype(np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


def thresholds(confidence, quantiles):
    """Thresholds in the widest gap between confidences `[sub-models, images]` near quantiles.

    Runtimes round differently; in a gap that does not matter.
    """
    found = []
    for row, quantile in zip(np.sort(confidence[:-1], axis=-1), quantiles, strict=True):
        place = round(quantile * (len(row) - 1))
        near = slice(max(0, place - 3), place + 4)
        gap = near.start + np.diff(row[near]).argmax()
        found.append((row[gap] + row[gap + 1]) / 2)
    return found
