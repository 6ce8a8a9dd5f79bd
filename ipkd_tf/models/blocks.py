"""The few layers that plain networks are made of, as functions of a tensor and a name."""

import keras

from ipkd_tf.models import layers


def conv_norm_relu(x, name, filters, kernel_size=3, strides=1):
    """Convolution, batch normalisation, ReLU: `[batch, height, width, filters]`."""
    return norm_relu(conv(x, name, filters, kernel_size, strides), name)


def conv(x, name, filters, kernel_size=3, strides=1):
    """Convolution without bias, initialised as He et al. do."""
    return layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=he_normal(),
        name=name,
    )(x)


def depthwise(x, name, strides=1):
    """A 3 x 3 convolution of each channel by itself, without bias."""
    return keras.layers.DepthwiseConv2D(
        3,
        strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=he_normal(),
        name=name,
    )(x)


def he_normal():
    """Normal of variance 2 / (kernel area * filters). Each layer needs one of its own."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def norm(x, name):
    """Batch normalisation, named after the convolution before it."""
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def relu(x):
    return layers.ReLU()(x)


def norm_relu(x, name):
    return relu(norm(x, name))


def project(x, name, filters, strides):
    """A shortcut from x to another number of channels or size: 1 x 1 convolution, normalisation."""
    return norm(conv(subsample(x, strides), name, filters, 1), name)


def subsample(x, strides):
    """Every `strides`-th pixel, those that a 1 x 1 convolution reads on images the right way up."""
    if strides == 1:
        return x
    first_row, first_column = ((side - 1) % strides for side in x.shape[1:3])
    return x[:, first_row::strides, first_column::strides]


def pool(x, layer):
    """2 x 2 pooling; of odd sides it leaves out what it would on images the right way up."""
    odd = [side % 2 for side in x.shape[1:3]]
    return layer(x[:, odd[0] :, odd[1] :] if any(odd) else x)


def dense(x, name, units, **settings):
    """Dense layer, initialised as PyTorch does by default: `[batch, units]`."""
    settings = {**pytorch_uniform(x.shape[-1]), **settings}
    return keras.layers.Dense(units, name=name, **settings)(x)


def logits(x, name, num_classes, **settings):
    """The dense layer that classifies, in float32 whatever the precision of the rest."""
    return dense(x, name, num_classes, dtype="float32", **settings)


def pytorch_uniform(fan_in):
    """PyTorch's default initialisers of kernel and bias: uniform within 1 / sqrt(fan_in)."""
    bound = fan_in**-0.5
    return {
        "kernel_initializer": keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        "bias_initializer": keras.initializers.RandomUniform(-bound, bound),
    }
