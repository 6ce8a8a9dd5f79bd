"""MSDNet: a multi-scale densely connected network with an exit after each block."""

from collections.abc import Sequence

import keras

from ipkd_tf.models import flexible, layers
from ipkd_tf.models.blocks import image_input, logits
from ipkd_tf.models.msdnet_layout import Layout


@keras.saving.register_keras_serializable("ipkd_tf")
class MSDNet(flexible.FlexibleNetwork):
    """Multi-scale DenseNet with early exits, for small images and for photographs.

    Every layer sees all earlier features of its scale and of the next finer one. Exits read the
    coarsest scale, so each of them answers from whole-image features.

    Args:
        num_classes: Number of classes.
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        blocks: Number of blocks, each ending in an exit.
        base: Layers of the first block.
        step: Layers of each further block (`even`); their growth (`lin_grow`: block k + 1 has
            step * k + 1 layers).
        step_mode: `even` or `lin_grow`.
        channels: Channels of the first convolution; growth_factors multiply it at coarser scales.
        growth: Channels a layer adds at the finest scale.
        growth_factors: Multiplier of channels and growth for each scale, finest first; its length
            is the number of scales.
        bottleneck: Whether a 1x1 convolution precedes each 3x3 one.
        bottleneck_factors: For each scale, bottleneck channels per channel that the 3x3 convolution
            adds.
        prune: Which finer scales later layers drop: `max` (one every third of the depth, for three
            scales) or `min` (only those that no later exit reads).
        reduction: Share of the channels that a transition keeps; 0 for no transitions.
        exit_channels: Channels of the two convolutions of each exit; None for as many as it reads.
        stem: What makes the features of the finest scale: `3x3`, a convolution at stride 1; or, for
            photographs, `7x7`: one at stride 2, then the maximum over 3x3 at stride 2.

    Returns:
        Logits `[batch, num_classes]` for each exit, earliest first.

    Example:
        >>> network = MSDNet(num_classes=100)
        >>> exit_1, *_, exit_7 = network(images)

    Source: Huang et al., Multi-Scale Dense Networks, ICLR 2018; kalviny/MSDNet-PyTorch.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        blocks: int = 7,
        base: int = 4,
        step: int = 2,
        step_mode: str = "even",
        channels: int = 16,
        growth: int = 6,
        growth_factors: Sequence[int] = (1, 2, 4),
        bottleneck: bool = True,
        bottleneck_factors: Sequence[int] = (1, 2, 4),
        prune: str = "max",
        reduction: float = 0.5,
        exit_channels: int | None = 128,
        stem: str = "3x3",
        name: str | None = None,
    ):
        images, x = image_input(self.arguments)
        layout = Layout(**self.arguments)
        outputs = _msdnet(x, layout, range(blocks), layers)
        names = [f"exit_{number}" for number in range(1, blocks + 1)]
        super().__init__(inputs=images, outputs=outputs, submodels=names, name=name)
        self.layout = layout

    def build_submodel(self, submodel):
        images, x = image_input(self.arguments)
        (output,) = _msdnet(x, self.layout, [flexible.find(self, submodel)], keras.layers)
        return keras.Model(images, output, name=submodel.name)


def _msdnet(x, layout, exits, library):
    """The graph from prepared images to the logits of some exits, and nothing those do not need.

    `library` makes its layers: our `layers`, fast in training, or `keras.layers`, loaded
    everywhere.
    """
    make = _Layers(library)
    blocks = layout.block_layers()[: exits[-1] + 1]
    remaining = sum(map(len, blocks))
    features = _stem(x, layout, make)
    outputs = []
    for index, block in enumerate(blocks):
        for layer in block:
            remaining -= 1
            # The last exit reads the coarsest scale; each layer before it needs one finer scale.
            finest = max(layer.finest_out, layout.scales - 1 - remaining)
            features = _layer(features, layer, finest, layout, make)
        if index in exits:
            outputs.append(_exit(features[layout.scales - 1], index + 1, layout, make))
    return outputs


def _stem(x, layout, make):
    features = {}
    for scale, factor in enumerate(layout.growth_factors):
        name = f"stem_scale_{scale + 1}"
        large = scale == 0 and layout.stem == "7x7"
        strides = 2 if large or scale else 1
        x = make.conv(x, name, layout.channels * factor, 7 if large else 3, strides)
        x = make.norm_relu(x, name)
        if large:
            x = keras.layers.MaxPooling2D(3, 2, "same", name=f"{name}_pool")(x)
        features[scale] = x
    return features


def _layer(features, layer, finest, layout, make):
    """One layer on the features of all scales `{scale: [batch, height, width, channels]}`."""
    coarser, same = _bottlenecks(features, layer, finest, layout, make)
    outputs = {}
    for scale in range(finest, layout.scales):
        name = f"{layer.name}_scale_{scale + 1}"
        added = layout.growth * layout.growth_factors[scale]
        if scale in coarser:
            parts = [
                make.conv(coarser[scale], f"{name}_down", added // 2, 3, strides=2),
                make.conv(same[scale], f"{name}_normal", added // 2, 3),
            ]
            new = keras.layers.Concatenate()(parts)
        else:
            new = make.conv(same[scale], f"{name}_normal", added, 3)
        new = make.norm_relu(new, name)
        outputs[scale] = keras.layers.Concatenate()([features[scale], new])
        if layer.channels_kept:
            kept = layer.channels_kept * layout.growth_factors[scale]
            name = f"{name}_transition"
            outputs[scale] = make.norm_relu(make.conv(outputs[scale], name, kept, 1), name)
    return outputs


def _bottlenecks(features, layer, finest, layout, make):
    """The inputs of a layer's 3x3 convolutions: from one scale finer, and from the same scale.

    At each scale the two 1x1 convolutions that read the same features (for the 3x3 down to the next
    scale, and for the normal one) run as one convolution, normalisation and activation, then split.
    """
    coarser, same = {}, {}
    for scale in range(max(layer.finest_in, finest - 1), layout.scales):
        x, widths = features[scale], {}
        channels = layer.channels_in * layout.growth_factors[scale]
        # The part for the coarser scale comes first: a sub-model without the other keeps a prefix.
        for user in (scale + 1, scale):
            if finest <= user < layout.scales:
                halves = user > layer.finest_out or layer.finest_out > layer.finest_in
                added = layout.growth * layout.growth_factors[user] // (2 if halves else 1)
                widths[user] = min(channels, layout.bottleneck_factors[scale] * added)
        parts = [x] * len(widths)
        if layout.bottleneck:
            name = f"{layer.name}_scale_{scale + 1}_bottleneck"
            x = make.norm_relu(make.conv(x, name, sum(widths.values()), 1), name)
            parts = make.split(x, list(widths.values()))
        for user, part in zip(widths, parts, strict=True):
            (same if user == scale else coarser)[user] = part
    return coarser, same


def _exit(x, number, layout, make):
    """Two 3x3 convolutions at stride 2, average pooling, dense layer: `[batch, classes]`."""
    for position in (1, 2):
        name = f"exit_{number}_conv_{position}"
        channels = layout.exit_channels or x.shape[-1]
        x = make.norm_relu(make.conv(x, name, channels, 3, strides=2), name)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return logits(x, f"exit_{number}_logits", layout.num_classes)


class _Layers:
    """The layers MSDNet is made of, initialised as PyTorch does by default."""

    def __init__(self, library):
        self.library = library

    def conv(self, x, name, filters, kernel_size, strides=1):
        return self.library.Conv2D(
            filters,
            kernel_size,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
            name=name,
        )(x)

    def norm_relu(self, x, name):
        norm = self.library.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")
        return self.library.ReLU()(norm(x))

    def split(self, x, sizes):
        if len(sizes) == 1:
            return [x]
        return keras.ops.split(x, [sizes[0]], axis=-1)
