"""DenseNet and DenseNet-BC for small images, the single-scale ancestor of MSDNet."""

from collections.abc import Sequence

import keras

from ipkd_tf.models import blocks, flexible, layers
from ipkd_tf.output.checks import check, check_positive

_BLOCKS = 3


@keras.saving.register_keras_serializable("ipkd_tf")
class DenseNet(flexible.FlexibleNetwork):
    """A densely connected network, a network of one sub-model.

    Three dense blocks, in which every layer reads all earlier features of its block, with a
    transition (1x1 convolution, 2x2 average pooling) after each of the first two. The dropout of
    the paper's runs without augmentation is left out.

    Args:
        num_classes: Number of classes.
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        depth: Layers with weights: 4, and 3 (with bottlenecks 6) for each layer of a block.
        growth: Channels that a layer adds.
        bottleneck: Whether a 1x1 convolution to 4 `growth` channels precedes each 3x3 one. With it
            the first convolution has 2 `growth` channels, without it 16.
        reduction: Share of the channels that a transition keeps. DenseNet-BC is a bottleneck and a
            reduction of 0.5, plain DenseNet no bottleneck and a reduction of 1.

    Returns:
        Logits `[batch, num_classes]` of the one sub-model, `network`.

    Example:
        >>> network = DenseNet(depth=40, growth=12)

    Source: Huang et al., Densely Connected Convolutional Networks, CVPR 2017
    (liuzhuang13/DenseNet); 16 channels at the start of a plain one as in the paper.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        depth: int = 40,
        growth: int = 12,
        bottleneck: bool = True,
        reduction: float = 0.5,
        name: str | None = None,
    ):
        images, x = blocks.image_input(self.arguments)
        check_positive(depth=depth, growth=growth)
        each = _BLOCKS * (2 if bottleneck else 1)
        check(
            depth % each == 4 % each and depth > 4,
            f"a depth of 4 and {each} for each layer of a block, such as {each + 4} "
            f"or {6 * each + 4}",
            depth=depth,
        )
        check(0 < reduction <= 1, "a share above 0 and up to 1", reduction=reduction)
        x = blocks.conv(x, "stem", 2 * growth if bottleneck else 16)
        for block in range(1, _BLOCKS + 1):
            for layer in range(1, (depth - 4) // each + 1):
                new = _layer(x, f"block_{block}_layer_{layer}", growth, bottleneck)
                x = keras.layers.Concatenate()([x, new])
            x = blocks.norm_relu(x, f"block_{block}")
            if block < _BLOCKS:
                x = blocks.conv(x, f"transition_{block}", int(x.shape[-1] * reduction), 1)
                x = layers.pool(x, keras.layers.AveragePooling2D(2))
        x = keras.layers.GlobalAveragePooling2D()(x)
        logits = blocks.logits(x, "logits", num_classes, bias_initializer="zeros")
        super().__init__(inputs=images, outputs=[logits], submodels=["network"], name=name)


def _layer(x, name, growth, bottleneck):
    """What one layer adds to all features before it: `[batch, height, width, growth]`."""
    x = blocks.norm_relu(x, name)
    if bottleneck:
        x = blocks.conv_norm_relu(x, f"{name}_bottleneck", 4 * growth, 1)
    return blocks.conv(x, f"{name}_conv", growth)
