"""Slimmable MobileNet-V1: several widths of one network sharing leading slices of its kernels."""

import functools
import types

import keras

from ipkd_tf.models import flexible, layers
from ipkd_tf.models.slimmable_layers import (
    SlimmableConv2D,
    SlimmableDense,
    SlimmableDepthwiseConv2D,
    round_to_8,
)

BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)),
    *((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    *((1024, 2), (1024, 1)),
)


@keras.saving.register_keras_serializable("ipkd_tf")
class SlimmableMobileNetV1(flexible.FlexibleNetwork):
    """MobileNet-V1 that runs at any of several widths.

    At width w each layer uses the leading slice of the shared kernel. Batch normalisation (scale,
    offset and statistics) is private to each width; the dense layer is sliced on its input side.

    Args:
        num_classes: Number of classes.
        image_size: Height and width of the images, pixels.
        mean: Per channel mean of the images, as a share of 255.
        std: Per channel standard deviation of the images, as a share of 255.
        widths: Width multipliers in (0, 1], ascending.
        stem: Channels of the first convolution at width 1.
        blocks: (channels, stride) of each depthwise-separable block at width 1.
        stem_strides: Stride of the first convolution: 1 for 32 x 32 images, 2 for photographs.

    Returns:
        Logits `[batch, num_classes]` for each width, narrowest first.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> network = SlimmableMobileNetV1(num_classes=100, widths=(0.5, 1.0))
        >>> narrow, wide = network(images)

    Source: Yu et al., Slimmable Neural Networks, ICLR 2019 (JiahuiYu/slimmable_networks); strides
    as in weiaicunzai/pytorch-cifar100.
    """

    def __init__(
        self,
        num_classes=10,
        image_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        widths=(0.25, 0.5, 0.75, 1.0),
        stem=32,
        blocks=BLOCKS,
        stem_strides=1,
        name=None,
    ):
        check_arguments(num_classes, image_size, mean, std, widths, stem, blocks, stem_strides)
        images = keras.Input((image_size, image_size, 3), name="image")
        shared = SharedLayers(num_classes, stem, blocks, stem_strides)
        x = layers.prepare_images(images, mean, std)
        outputs = [
            mobilenet(x, stem, blocks, at_width(width), _LayersAtWidth(shared, width))
            for width in widths
        ]
        submodels = [submodel_at(width) for width in widths]
        super().__init__(inputs=images, outputs=outputs, submodels=submodels, name=name)

    def build_submodel(self, submodel):
        return build_plain(types.SimpleNamespace(**self.arguments), submodel)

    def weights_of(self, submodel, layer):
        private = isinstance(layer, keras.layers.BatchNormalization)
        name = f"{submodel.name}_{layer.name}" if private else layer.name
        return flexible.leading_slices(self.get_layer(name), layer)


def submodel_at(width):
    return flexible.Submodel(f"width_{float(width)}", (float(width),))


def build_plain(settings, submodel):
    """Returns the untrained network of one width, of the family's settings, in Keras's layers."""
    images = keras.Input((settings.image_size, settings.image_size, 3), name="image")
    x = layers.prepare_images(images, settings.mean, settings.std)
    at = at_width(*submodel.choice)
    plain = _PlainLayers(settings.num_classes, settings.stem_strides)
    return keras.Model(
        images, mobilenet(x, settings.stem, settings.blocks, at, plain), name=submodel.name
    )


def check_arguments(num_classes, image_size, mean, std, widths, stem, blocks, stem_strides):
    """Raises ValueError unless the constructor's arguments are in range."""
    flexible.check_positive(num_classes=num_classes, image_size=image_size, stem=stem)
    flexible.check_positive(stem_strides=stem_strides)
    flexible.check_statistics(mean, std)
    for block in blocks:
        flexible.check_positive(blocks=block)
    ascending = all(a < b for a, b in zip(widths, widths[1:], strict=False))
    if not widths or not ascending or not 0 < widths[0] <= widths[-1] <= 1:
        raise ValueError(
            "Expected width multipliers above 0 and up to 1, ascending, such as 0.25,0.5,0.75,1.0. "
            f"Received: widths={widths!r}"
        )


def channels_at(channels, width):
    """Channels of a layer at a width: a multiple of 8."""
    return min(round_to_8(channels * width), channels)


def at_width(width):
    """Returns the function from the channels of a layer at width 1 to those at this width."""
    return functools.partial(channels_at, width=width)


def mobilenet(x, stem, blocks, at, make):
    """The graph of one width, from normalised images to logits.

    `at` gives the channels of a layer at that width, `make` supplies the layers.
    """
    x = _norm_relu6(make.conv(x, "stem", at(stem), 3), "stem", make)
    for number, (channels, stride) in enumerate(blocks, 1):
        name = f"block_{number}_depthwise"
        x = _norm_relu6(make.depthwise(x, name, stride), name, make)
        name = f"block_{number}_pointwise"
        x = _norm_relu6(make.conv(x, name, at(channels), 1), name, make)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return make.dense(x, "logits")


def _norm_relu6(x, name, make):
    return keras.layers.ReLU(6.0)(make.norm(x, f"{name}_norm"))


class SharedLayers:
    """The layers of the widest network, shared by all widths."""

    def __init__(self, num_classes, stem, blocks, stem_strides):
        self.convs = {"stem": _conv("stem", 3, stem, 3, stem_strides)}
        channels = stem
        for number, (filters, strides) in enumerate(blocks, 1):
            depthwise, pointwise = f"block_{number}_depthwise", f"block_{number}_pointwise"
            self.convs[depthwise] = SlimmableDepthwiseConv2D(
                channels, 3, strides, _he_normal(9 * channels), name=depthwise
            )
            self.convs[pointwise] = _conv(pointwise, channels, filters, 1)
            channels = filters
        self.logits = SlimmableDense(
            channels, num_classes, keras.initializers.RandomNormal(stddev=0.01), name="logits"
        )


class _LayersAtWidth:
    """Calls the shared layers at one width, with that width's own batch normalisation."""

    def __init__(self, shared, width):
        self.shared = shared
        self.width = width

    def conv(self, x, name, filters, kernel_size):
        return self.shared.convs[name](x, filters=filters)

    def depthwise(self, x, name, strides):
        return self.shared.convs[name](x)

    def norm(self, x, name):
        return layers.BatchNormalization(name=f"{submodel_at(self.width).name}_{name}")(x)

    def dense(self, x, name):
        return name_logits(self.shared.logits(x), submodel_at(self.width))


def name_logits(logits, submodel):
    """Gives an output a name of its own, and float32 logits in mixed precision."""
    name = f"{submodel.name}_logits"
    return keras.layers.Activation("linear", dtype="float32", name=name)(logits)


class _PlainLayers:
    """Makes the layers of a single-width network: Keras's own, loadable without this package."""

    def __init__(self, num_classes, stem_strides):
        self.num_classes, self.stem_strides = num_classes, stem_strides

    def conv(self, x, name, filters, kernel_size):
        strides = self.stem_strides if name == "stem" else 1
        settings = {"padding": "same", "use_bias": False, "name": name}
        return keras.layers.Conv2D(filters, kernel_size, strides, **settings)(x)

    def depthwise(self, x, name, strides):
        layer = keras.layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False, name=name)
        return layer(x)

    def norm(self, x, name):
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    def dense(self, x, name):
        return keras.layers.Dense(self.num_classes, dtype="float32", name=name)(x)


def _conv(name, in_channels, filters, kernel_size, strides=1):
    initializer = _he_normal(kernel_size**2 * filters)
    return SlimmableConv2D(in_channels, filters, kernel_size, strides, initializer, name=name)


def _he_normal(fan_out):
    # The reference counts a depthwise kernel's fan-out as if it were dense.
    return keras.initializers.RandomNormal(stddev=(2.0 / fan_out) ** 0.5)
