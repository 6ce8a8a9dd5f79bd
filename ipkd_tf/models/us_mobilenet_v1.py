"""Universally slimmable MobileNet-V1: any width of a range, all trained in one network."""

import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from ipkd_tf.models import slimmable_mobilenet_v1 as slimmable
from ipkd_tf.models.blocks import prepare
from ipkd_tf.models.shared_norm import SharedBatchNormalization, SharedNormNetwork, draw_uniform
from ipkd_tf.models.slimmable_mobilenet_v1 import at_width
from ipkd_tf.output.checks import check

_NAME = re.compile(r"(?:width_)?(\d*\.?\d+)")


@keras.saving.register_keras_serializable("ipkd_tf")
class USMobileNetV1(SharedNormNetwork):
    """MobileNet-V1 that runs at every width from the narrowest to the widest.

    At width w each layer uses the leading slice of the shared kernel, and of the one scale and
    offset that all widths share. A training step draws the sandwich: the narrowest, the widest, and
    `draws` random widths between. Statistics of the normalisation are estimated for one width at a
    time, by `recalibrate`, before it is used.

    Args:
        num_classes: Number of classes.
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        widths: The named width multipliers in (0, 1], ascending; the first and the last are the
            ends of the range.
        draws: Random widths of each training step.
        stem: Channels of the first convolution at width 1.
        blocks: (channels, stride) of each depthwise-separable block at width 1.
        stem_strides: Stride of the first convolution: 1 for 32 x 32 images, 2 for photographs.

    Returns:
        Logits `[batch, num_classes]` for each named width, narrowest first. `submodel("width_0.6")`
        is a width that was never named, once it is recalibrated.

    Example:
        >>> network = USMobileNetV1(num_classes=100)
        >>> network.recalibrate("width_0.6", [images_1, images_2])
        >>> network.submodel("width_0.6").save("width_0.6.keras")

    Source: Yu & Huang, Universally Slimmable Networks and Improved Training Techniques, ICCV 2019
    (JiahuiYu/slimmable_networks); strides as in weiaicunzai/pytorch-cifar100.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        widths: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
        draws: int = 2,
        stem: int = 32,
        blocks: Sequence[tuple[int, int]] = slimmable.BLOCKS,
        stem_strides: int = 1,
        name: str | None = None,
    ):
        images, x = slimmable.check_input(self.arguments)
        check(
            len(widths) > 1 and isinstance(draws, int) and draws >= 0,
            "two widths or more, the ends of the range, and a number of draws",
            widths=widths,
            draws=draws,
        )
        submodels = [slimmable.submodel_at(width) for width in widths]
        shared = _SharedLayers(self.arguments, submodels)
        outputs = [
            slimmable.mobilenet(x, self.arguments, at_width(width), shared.of(submodel))
            for width, submodel in zip(widths, submodels, strict=True)
        ]
        super().__init__(inputs=images, outputs=outputs, submodels=submodels, name=name)
        self.keep(_shared=shared)

    def parse(self, name):
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        width, (low, *_, high) = float(match[1]), self.arguments["widths"]
        check(
            low <= width <= high,
            f"a width from {low} to {high}, such as width_{high}",
            submodel=name,
        )
        return slimmable.submodel_at(width)

    def space(self):
        low, *_, high = self.arguments["widths"]
        steps = range(round(100 * (high - low)) + 1)
        return {"width": tuple(min(high, round(low + step / 100, 4)) for step in steps)}

    def compose(self, genes):
        return self.resolve(str(genes["width"]))

    def build_submodel(self, submodel):
        return slimmable.build_plain(self.arguments, submodel)

    def draw(self, seed, step):
        """Returns the widths of a step, float64 `[draws + 2]`, ascending: ends, random between."""
        low, *_, high = self.arguments["widths"]
        between = draw_uniform(seed, step, [self.arguments["draws"]], low, high, tf.float64)
        ends = tf.constant([[low], [high]], tf.float64)
        return tf.concat([ends[0], tf.sort(between), ends[1]], axis=0)

    @property
    def drawn(self):
        return self.arguments["draws"] + 2

    def train_logits(self, images, drawn=None):
        low, *_, high = self.arguments["widths"]
        x = prepare(images, self.arguments)
        # The ends are known when the step is traced, which makes them faster.
        between = [_at_tensor(drawn[k]) for k in range(1, self.drawn - 1)]
        *between, narrowest, widest = (
            slimmable.mobilenet(x, self.arguments, at, self._shared)
            for at in (*between, at_width(low), at_width(high))
        )
        return [narrowest, *between, widest], []


def _at_tensor(width):
    """`at_width` for a width that is a float64 tensor."""

    def at(channels):
        product = channels * width
        rounded = tf.maximum(8, tf.cast(product + 4, tf.int32) // 8 * 8)
        down = tf.cast(rounded, tf.float64) < 0.9 * product
        return tf.minimum(tf.where(down, rounded + 8, rounded), channels)

    return at


class _SharedLayers(slimmable.SharedLayers):
    """The same with normalisations all widths share, by the batch or `of` a named width."""

    def __init__(self, settings, submodels):
        super().__init__(settings)
        self.named = submodels
        outputs = {"stem": settings["stem"]}
        for number, (channels, _) in enumerate(settings["blocks"], 1):
            outputs[f"block_{number}_depthwise"] = outputs[next(reversed(outputs))]
            outputs[f"block_{number}_pointwise"] = channels
        self.norms = {
            f"{layer}_norm": SharedBatchNormalization(
                [slimmable.channels_at(channels, *one.choice) for one in submodels],
                name=f"{layer}_norm",
            )
            for layer, channels in outputs.items()
        }

    def norm(self, x, name):
        number = self.named.index(self.submodel) if self.submodel else None
        return self.norms[name](x, submodel=number)

    def logits(self, x):
        return super().logits(x) if self.submodel else tf.cast(self.dense(x), tf.float32)
