"""What the families are made of, as functions of a tensor and a name."""

import keras

from ipkd_tf.models import layers
from ipkd_tf.output.checks import check, check_positive


def image_input(settings):
    """Symbolic images for the arguments of a family, and the same as its layers take them."""
    size, mean, std = (settings[name] for name in ("image_size", "mean", "std"))
    check_positive(num_classes=settings["num_classes"], image_size=size)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    check(len(sides) == 2, "a side in pixels, or (height, width)", image_size=size)
    check(
        0 < len(mean) == len(std) and all(s > 0 for s in std),
        "a mean and a positive standard deviation for each channel, as shares of 255",
        mean=mean,
        std=std,
    )
    images = keras.Input((*sides, len(mean)), name="image")
    return images, prepare(images, settings)


def prepare(images, settings):
    """Images as the layers of a family of those arguments take them."""
    return layers.prepare_images(images, settings["mean"], settings["std"])


def conv_norm_relu(x, name, filters, kernel_size=3):
    """Convolution, batch normalisation, ReLU: `[batch, height, width, filters]`."""
    return norm_relu(conv(x, name, filters, kernel_size), name)


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
    return norm(conv(layers.subsample(x, strides), name, filters, 1), name)


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


def name_logits(logits, submodel):
    """Gives an output a name of its own, and float32 logits in mixed precision."""
    name = f"{submodel.name}_logits"
    return keras.layers.Activation("linear", dtype="float32", name=name)(logits)


class PlainLayers:
    """Makes the layers of one sub-model: Keras's own, loadable without this package."""

    def __init__(self, num_classes):
        self.num_classes = num_classes

    def conv(self, x, name, filters, kernel_size=1, strides=1):
        settings = {"padding": "same", "use_bias": False, "name": name}
        return keras.layers.Conv2D(filters, kernel_size, strides, **settings)(x)

    def depthwise(self, x, name, strides=1, kernel_size=3):
        settings = {"padding": "same", "use_bias": False, "name": name}
        return keras.layers.DepthwiseConv2D(kernel_size, strides, **settings)(x)

    def norm(self, x, name):
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    def relu(self, x):
        return keras.layers.ReLU()(x)

    def logits(self, x):
        return keras.layers.Dense(self.num_classes, dtype="float32", name="logits")(x)
