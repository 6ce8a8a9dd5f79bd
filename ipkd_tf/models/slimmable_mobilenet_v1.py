"""Slimmable MobileNet-V1: several widths of one network sharing leading slices of its kernels."""

import copy
import functools
from collections.abc import Sequence

import keras

from ipkd_tf.models import flexible, layers
from ipkd_tf.models.blocks import PlainLayers, image_input, name_logits
from ipkd_tf.models.slimmable_layers import (
    SlimmableConv2D,
    SlimmableDense,
    SlimmableDepthwiseConv2D,
    round_to_8,
)
from ipkd_tf.output.checks import check, check_positive, is_ascending

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
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        widths: Width multipliers in (0, 1], ascending.
        stem: Channels of the first convolution at width 1.
        blocks: (channels, stride) of each depthwise-separable block at width 1.
        stem_strides: Stride of the first convolution: 1 for 32 x 32 images, 2 for photographs.

    Returns:
        Logits `[batch, num_classes]` for each width, narrowest first.

    Example:
        >>> network = SlimmableMobileNetV1(num_classes=100, widths=(0.5, 1.0))
        >>> narrow, wide = network(images)

    Source: Yu et al., Slimmable Neural Networks, ICLR 2019 (JiahuiYu/slimmable_networks); strides
    as in weiaicunzai/pytorch-cifar100.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        widths: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
        stem: int = 32,
        blocks: Sequence[tuple[int, int]] = BLOCKS,
        stem_strides: int = 1,
        name: str | None = None,
    ):
        images, x = check_input(self.arguments)
        shared = SharedLayers(self.arguments)
        submodels = [submodel_at(width) for width in widths]
        outputs = [
            mobilenet(x, self.arguments, at_width(width), shared.of(submodel))
            for width, submodel in zip(widths, submodels, strict=True)
        ]
        super().__init__(inputs=images, outputs=outputs, submodels=submodels, name=name)

    def build_submodel(self, submodel):
        return build_plain(self.arguments, submodel)

    def weights_of(self, submodel, layer):
        private = isinstance(layer, keras.layers.BatchNormalization)
        name = f"{submodel.name}_{layer.name}" if private else layer.name
        return flexible.leading_slices(self.get_layer(name), layer)


def submodel_at(width):
    return flexible.Submodel(f"width_{float(width)}", (float(width),))


def build_plain(settings, submodel):
    """Returns the untrained network of one width, of the family's settings, in Keras's layers."""
    images, x = image_input(settings)
    logits = mobilenet(
        x, settings, at_width(*submodel.choice), PlainLayers(settings["num_classes"])
    )
    return keras.Model(images, logits, name=submodel.name)


def check_input(settings):
    """As `image_input`, once the other arguments of the family are in range."""
    check_positive(stem=settings["stem"], stem_strides=settings["stem_strides"])
    for block in settings["blocks"]:
        check_positive(blocks=block)
    widths = settings["widths"]
    check(
        widths and is_ascending(widths) and 0 < widths[0] <= widths[-1] <= 1,
        "width multipliers above 0 and up to 1, ascending, such as 0.25,0.5,0.75,1.0",
        widths=widths,
    )
    return image_input(settings)


def channels_at(channels, width):
    """Channels of a layer at a width: a multiple of 8."""
    return min(round_to_8(channels * width), channels)


def at_width(width):
    """Returns the function from the channels of a layer at width 1 to those at this width."""
    return functools.partial(channels_at, width=width)


def mobilenet(x, settings, at, make):
    """The graph of one width from images to logits; `at` gives channels, `make` layers."""
    x = make.conv(x, "stem", at(settings["stem"]), 3, settings["stem_strides"])
    x = _norm_relu6(x, "stem", make)
    for number, (channels, strides) in enumerate(settings["blocks"], 1):
        name = f"block_{number}_depthwise"
        x = _norm_relu6(make.depthwise(x, name, strides), name, make)
        name = f"block_{number}_pointwise"
        x = _norm_relu6(make.conv(x, name, at(channels), 1), name, make)
    return make.logits(keras.layers.GlobalAveragePooling2D()(x))


def _norm_relu6(x, name, make):
    return keras.layers.ReLU(6.0)(make.norm(x, f"{name}_norm"))


class SharedLayers:
    """The layers of the widest network, which all widths share, called for one of them."""

    def __init__(self, settings):
        channels = settings["stem"]
        stem = len(settings["mean"]), channels, 3, settings["stem_strides"]
        self.convs = {"stem": _conv("stem", *stem)}
        for number, (filters, strides) in enumerate(settings["blocks"], 1):
            depthwise, pointwise = f"block_{number}_depthwise", f"block_{number}_pointwise"
            self.convs[depthwise] = SlimmableDepthwiseConv2D(
                channels, 3, strides, _he_normal(9 * channels), name=depthwise
            )
            self.convs[pointwise] = _conv(pointwise, channels, filters, 1)
            channels = filters
        initializer = keras.initializers.RandomNormal(stddev=0.01)
        self.dense = SlimmableDense(channels, settings["num_classes"], initializer, name="logits")
        self.submodel = None

    def of(self, submodel):
        """The same, called for the `Submodel` of a width."""
        other = copy.copy(self)
        other.submodel = submodel
        return other

    def conv(self, x, name, filters, kernel_size, strides=1):
        return self.convs[name](x, filters=filters)

    def depthwise(self, x, name, strides):
        return self.convs[name](x)

    def norm(self, x, name):
        return layers.BatchNormalization(name=f"{self.submodel.name}_{name}")(x)

    def logits(self, x):
        return name_logits(self.dense(x), self.submodel)


def _conv(name, in_channels, filters, kernel_size, strides=1):
    initializer = _he_normal(kernel_size**2 * filters)
    return SlimmableConv2D(in_channels, filters, kernel_size, strides, initializer, name=name)


def _he_normal(fan_out):
    # The reference counts a depthwise kernel's fan-out as if it were dense.
    return keras.initializers.RandomNormal(stddev=(2.0 / fan_out) ** 0.5)
