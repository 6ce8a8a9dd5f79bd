"""Residual networks for small images."""

from collections.abc import Sequence

import keras

from ipkd_tf.models import blocks, flexible, layers
from ipkd_tf.output.checks import check, check_positive


@keras.saving.register_keras_serializable("ipkd_tf")
class ResNet(flexible.FlexibleNetwork):
    """A residual network of basic blocks, a network of one sub-model.

    A 3x3 convolution, then as many stages as there are `channels`, each of the same number of
    blocks of two 3x3 convolutions, then average pooling and a dense layer. The first block of each
    stage but the first has stride 2; where a block changes the shape, its shortcut is a 1x1
    convolution with normalisation.

    Args:
        num_classes: Number of classes.
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        depth: Layers with weights, shortcuts not counted: 2, and 2 for each block.
        channels: Channels of each stage.

    Returns:
        Logits `[batch, num_classes]` of the one sub-model, `network`.

    Example:
        >>> network = ResNet(depth=20)

    Source: He et al., Deep Residual Learning, CVPR 2016, section 4.2; shortcuts and initialisation
    as in imirzadeh/Teacher-Assistant-Knowledge-Distillation.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        depth: int = 20,
        channels: Sequence[int] = (16, 32, 64),
        name: str | None = None,
    ):
        images, x = blocks.image_input(self.arguments)
        count_blocks(depth, channels)  # refuses a depth out of range
        x = features(blocks.conv(x, "stem", channels[0]), depth, channels, blocks)
        logits = blocks.logits(x, "logits", num_classes)
        super().__init__(inputs=images, outputs=[logits], submodels=["network"], name=name)


def count_blocks(depth, channels):
    """How many blocks each stage has; ValueError unless they come out even."""
    check_positive(depth=depth, channels=channels)
    each = 2 * len(channels)
    check(
        depth % each == 2 and depth > 2,
        f"a depth of 2 and {each} for each block of a stage, such as {each + 2} or {2 * each + 2}",
        depth=depth,
    )
    return depth // each


def features(x, depth, channels, make):
    """The graph from the first convolution to what is classified; `make` makes its layers."""
    x = make.relu(make.norm(x, "stem"))
    for stage, filters in enumerate(channels, 1):
        for block in range(1, count_blocks(depth, channels) + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _basic_block(x, f"stage_{stage}_block_{block}", filters, strides, make)
    return keras.layers.GlobalAveragePooling2D()(x)


def _basic_block(x, name, filters, strides, make):
    shortcut, first, second = x, f"{name}_conv_1", f"{name}_conv_2"
    if strides != 1 or x.shape[-1] != filters:
        shortcut = make.conv(layers.subsample(x, strides), f"{name}_shortcut", filters, 1)
        shortcut = make.norm(shortcut, f"{name}_shortcut")
    x = make.relu(make.norm(make.conv(x, first, filters, 3, strides), first))
    x = make.norm(make.conv(x, second, filters, 3), second)
    return make.relu(keras.layers.Add()([x, shortcut]))
