"""Plain convolutional networks, singly or with exits on the way."""

import re
from collections.abc import Sequence

import keras

from ipkd_tf.models import blocks, flexible, layers
from ipkd_tf.output.checks import check, is_ascending

# By the number of classes and of convolutions, in the notation of the paper's tables.
LAYOUTS = {
    10: {
        2: "16 M 16 M",
        4: "16 16 M 32 32 M",
        6: "16 16 M 32 32 M 64 64 M",
        8: "16 16 M 32 32 M 64 64 M 128 128 M FC64",
        10: "32 32 M 64 64 M 128 128 M 256 256 256 256 M FC128",
    },
    100: {
        2: "32 M 32 M",
        4: "32 32 M 64 64 M",
        6: "32 32 M 64 64 M 128 128",
        8: "32 32 M 64 64 M 128 128 M 256 256 M FC64",
        10: "32 32 M 64 64 M 128 128 M 256 256 256 256 M FC512",
    },
}


@keras.saving.register_keras_serializable("ipkd_tf")
class PlainCNN(flexible.FlexibleNetwork):
    """3x3 convolutions with bias, each with normalisation and ReLU, max pools and dense layers.

    The networks from which assistant chains were built, and, with `exits`, our own flexible
    counterpart: one of them with a classifier after some of its convolutions. An exit pools where
    no pool follows anyway, and is a dense layer on all pixels, as the small networks' own is.

    Args:
        num_classes: Number of classes; it also chooses between the paper's networks for 10 classes
            and, from 100 classes on, those for 100.
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        depth: Which of the paper's networks, by its number of convolutions: 2, 4, 6, 8 or 10.
        layout: Any other network, such as `16 16 M 32 M FC64`: channels of convolutions, M for a
            2x2 max pool, then FC and the units of hidden dense layers. Replaces `depth`.
        exits: Numbers of convolutions after which an exit precedes the last one, ascending.

    Returns:
        Logits `[batch, num_classes]` for each exit, earliest first. The sub-models are named by
        their convolutions, `layers_2` ... `layers_10`; without `exits` there is one, `network`.

    Example:
        >>> network = PlainCNN(depth=10, exits=(2, 4, 6, 8))

    Source: Mirzadeh et al., Improved Knowledge Distillation via Teacher Assistant, AAAI 2020
    (imirzadeh/Teacher-Assistant-Knowledge-Distillation).
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        depth: int = 10,
        layout: str | None = None,
        exits: Sequence[int] = (),
        name: str | None = None,
    ):
        images, x = blocks.image_input(self.arguments)
        layouts = LAYOUTS[100 if num_classes >= 100 else 10]
        expected = "2, 4, 6, 8 or 10 convolutions, or a layout"
        check(layout or depth in layouts, expected, depth=depth)
        convs, hidden = _parse(layout or layouts[depth], images.shape[1:3])
        check(
            all(isinstance(number, int) for number in exits)
            and is_ascending((0, *exits, len(convs))),
            f"numbers of convolutions below the network's {len(convs)}, ascending",
            exits=exits,
        )
        outputs = _plain_cnn(x, convs, hidden, exits, num_classes)
        names = [f"layers_{number}" for number in (*exits, len(convs))] if exits else ["network"]
        super().__init__(inputs=images, outputs=outputs, submodels=names, name=name)


def _parse(layout, sides):
    """Channels of each convolution with whether a pool follows, and units of the hidden layers."""
    check(
        re.fullmatch(r"[1-9]\d*( M)?( [1-9]\d*( M)?)*( FC[1-9]\d*)*", layout),
        "channels of convolutions, each with or without M for a pool after it, then FC and units "
        "of dense layers, such as 16 16 M 32 M FC64",
        layout=layout,
    )
    smallest = 2 ** layout.count("M")
    check(
        min(sides) >= smallest,
        f"images of at least {smallest} pixels a side for the pools of {layout}",
        image_size=sides,
    )
    convs = [(int(channels), bool(pool)) for channels, pool in re.findall(r"\b(\d+)( M)?", layout)]
    return convs, [int(units) for units in re.findall(r"FC(\d+)", layout)]


def _plain_cnn(x, convs, hidden, exits, num_classes):
    """The graph from normalised images to the logits of all exits, earliest first."""
    logits = []
    for number, (channels, pool) in enumerate(convs, 1):
        x = blocks.norm_relu(_conv(x, f"conv_{number}", channels), f"conv_{number}")
        if pool or number in exits:
            pooled = layers.pool(x, keras.layers.MaxPooling2D())
        if number in exits:
            flat = keras.layers.Flatten()(pooled)
            logits.append(blocks.logits(flat, f"exit_{number}_logits", num_classes))
        x = pooled if pool else x
    x = keras.layers.Flatten()(x)
    for number, units in enumerate(hidden, 1):
        x = blocks.relu(blocks.dense(x, f"dense_{number}", units))
    return [*logits, blocks.logits(x, "logits", num_classes)]


def _conv(x, name, channels):
    settings = {"padding": "same", "name": name, **blocks.pytorch_uniform(9 * x.shape[-1])}
    return layers.Conv2D(channels, 3, **settings)(x)
