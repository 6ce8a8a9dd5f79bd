"""Normalisation statistics of one sub-model, estimated anew from training images."""

import keras

from ipkd_tf.models import checks, keras_hooks
from ipkd_tf.output import counter


def estimate_statistics(model, batches):
    """Sets the batch normalisations of a model to their statistics over training images.

    The mean is the average of the batches' means, the variance that of their variances; every
    layer sees what the layers before it make of the batch itself. Dropout is off. The weights stay.

    Source: Yu & Huang, Universally Slimmable Networks, ICCV 2019, section 3.2.
    """
    layers = list(keras_hooks.flatten_layers(model))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    before = [norm.momentum for norm in norms], [dropout.rate for dropout in dropouts]
    _set(dropouts, "rate", [0.0] * len(dropouts))
    batch = None
    for batch, images in enumerate(counter.track(batches, "estimating statistics", "batches")):
        # The average of batch + 1 values from that of the first ones and the last.
        _set(norms, "momentum", [batch / (batch + 1)] * len(norms))
        model(images, training=True)
    _set(norms, "momentum", before[0])
    _set(dropouts, "rate", before[1])
    checks.check(batch is not None, "at least one batch of training images", batches=[])


def _set(layers, attribute, values):
    for layer, value in zip(layers, values, strict=True):
        setattr(layer, attribute, value)
