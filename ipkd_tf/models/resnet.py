"""Residual networks for small images."""

import keras

from ipkd_tf.models import blocks, flexible, layers


@keras.saving.register_keras_serializable("ipkd_tf")
class ResNet(flexible.FlexibleNetwork):
    """A residual network of basic blocks, a network of one sub-model.

    A 3x3 convolution, then as many stages as there are `channels`, each of the same number of
    blocks of two 3x3 convolutions, then average pooling and a dense layer. The first block of each
    stage but the first has stride 2; where a block changes the shape, its shortcut is a 1x1
    convolution with normalisation.

    Args:
        num_classes: Number of classes.
        image_size: Height and width of the images, pixels.
        mean: Per channel mean of the images, as a share of 255.
        std: Per channel standard deviation of the images, as a share of 255.
        depth: Layers with weights, shortcuts not counted: 2, and 2 for each block.
        channels: Channels of each stage.

    Returns:
        Logits `[batch, num_classes]` of the one sub-model, `network`.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> network = ResNet(depth=20)

    Source: He et al., Deep Residual Learning, CVPR 2016, section 4.2; shortcuts and initialisation
    as in imirzadeh/Teacher-Assistant-Knowledge-Distillation.
    """

    def __init__(
        self,
        num_classes=10,
        image_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        depth=20,
        channels=(16, 32, 64),
        name=None,
    ):
        flexible.check_positive(num_classes=num_classes, image_size=image_size)
        flexible.check_statistics(mean, std)
        blocks_of_stage = count_blocks(depth, channels)
        images = keras.Input((image_size, image_size, 3), name="image")
        x = layers.prepare_images(images, mean, std)
        x = blocks.conv_norm_relu(x, "stem", channels[0])
        for stage, filters in enumerate(channels, 1):
            for block in range(1, blocks_of_stage + 1):
                strides = 2 if stage > 1 and block == 1 else 1
                x = _basic_block(x, f"stage_{stage}_block_{block}", filters, strides)
        logits = blocks.logits(keras.layers.GlobalAveragePooling2D()(x), "logits", num_classes)
        super().__init__(inputs=images, outputs=[logits], submodels=["network"], name=name)


def count_blocks(depth, channels):
    """How many blocks each stage has; ValueError unless they come out even."""
    flexible.check_positive(depth=depth, channels=channels)
    each = 2 * len(channels)
    if depth % each != 2 or depth == 2:
        raise ValueError(
            f"Expected a depth of 2 and {each} for each block of a stage, such as {each + 2} "
            f"or {2 * each + 2}. Received: depth={depth}"
        )
    return depth // each


def _basic_block(x, name, filters, strides):
    shortcut = x
    if strides != 1 or x.shape[-1] != filters:
        shortcut = blocks.project(x, f"{name}_shortcut", filters, strides)
    x = blocks.conv_norm_relu(x, f"{name}_conv_1", filters, strides=strides)
    x = blocks.norm(blocks.conv(x, f"{name}_conv_2", filters), f"{name}_conv_2")
    return blocks.relu(keras.layers.Add()([x, shortcut]))
