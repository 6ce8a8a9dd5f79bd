"""Universally slimmable MobileNet-V1: any width of a range, all trained in one network."""

import re
import types

import keras
import tensorflow as tf

from ipkd_tf.models import flexible, layers
from ipkd_tf.models import slimmable_mobilenet_v1 as slimmable
from ipkd_tf.models.shared_norm import SharedBatchNormalization, SharedNormNetwork
from ipkd_tf.models.slimmable_mobilenet_v1 import at_width

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
        image_size: Height and width of the images, pixels.
        mean: Per channel mean of the images, as a share of 255.
        std: Per channel standard deviation of the images, as a share of 255.
        widths: The named width multipliers in (0, 1], ascending; the first and the last are the
            ends of the range.
        draws: Random widths of each training step.
        stem: Channels of the first convolution at width 1.
        blocks: (channels, stride) of each depthwise-separable block at width 1.
        stem_strides: Stride of the first convolution: 1 for 32 x 32 images, 2 for photographs.

    Returns:
        Logits `[batch, num_classes]` for each named width, narrowest first. `submodel("width_0.6")`
        is a width that was never named, once it is recalibrated.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> network = USMobileNetV1(num_classes=100)
        >>> network.recalibrate("width_0.6", [images_1, images_2])
        >>> network.submodel("width_0.6").save("width_0.6.keras")

    Source: Yu & Huang, Universally Slimmable Networks and Improved Training Techniques, ICCV 2019
    (JiahuiYu/slimmable_networks); strides as in weiaicunzai/pytorch-cifar100.
    """

    def __init__(
        self,
        num_classes=10,
        image_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        widths=(0.25, 0.5, 0.75, 1.0),
        draws=2,
        stem=32,
        blocks=slimmable.BLOCKS,
        stem_strides=1,
        name=None,
    ):
        slimmable.check_arguments(
            num_classes, image_size, mean, std, widths, stem, blocks, stem_strides
        )
        if len(widths) < 2 or not isinstance(draws, int) or draws < 0:
            raise ValueError(
                "Expected two widths or more, the ends of the range, and a number of draws. "
                f"Received: widths={widths!r}, draws={draws!r}"
            )
        images = keras.Input((image_size, image_size, 3), name="image")
        x = layers.prepare_images(images, mean, std)
        shared = _SharedLayers(num_classes, stem, blocks, stem_strides, widths)
        outputs = [
            slimmable.mobilenet(x, stem, blocks, at_width(width), _LayersAt(shared, number, width))
            for number, width in enumerate(widths)
        ]
        submodels = [slimmable.submodel_at(width) for width in widths]
        super().__init__(inputs=images, outputs=outputs, submodels=submodels, name=name)
        # A plain attribute: its layers are tracked as parts of the graph.
        object.__setattr__(self, "_shared", shared)

    def resolve(self, which):
        """Returns the `Submodel` of a number, a name or a value; any width of the range has one.

        Raises:
            IndexError, ValueError: There is none.
        """
        name = which.name if isinstance(which, flexible.Submodel) else which
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            return super().resolve(which)
        width, (low, *_, high) = float(match[1]), self.arguments["widths"]
        if not low <= width <= high:
            raise ValueError(
                f"Expected a width from {low} to {high}, such as width_{high}. "
                f"Received: submodel={name!r}"
            )
        return slimmable.submodel_at(width)

    def space(self):
        low, *_, high = self.arguments["widths"]
        steps = range(round(100 * (high - low)) + 1)
        return {"width": tuple(min(high, round(low + step / 100, 4)) for step in steps)}

    def compose(self, genes):
        return self.resolve(str(genes["width"]))

    def build_submodel(self, submodel):
        return slimmable.build_plain(types.SimpleNamespace(**self.arguments), submodel)

    def draw(self, seed, step):
        """Returns the widths of a step, float64 `[draws + 2]`, ascending: ends, random between."""
        low, *_, high = self.arguments["widths"]
        between = tf.random.stateless_uniform(
            [self.arguments["draws"]],
            tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)]),
            low,
            high,
            tf.float64,
        )
        ends = tf.constant([[low], [high]], tf.float64)
        return tf.concat([ends[0], tf.sort(between), ends[1]], axis=0)

    @property
    def drawn(self):
        return self.arguments["draws"] + 2

    def train_logits(self, images, drawn=None):
        """Computes the logits at the widths that `draw` returned; see `FlexibleNetwork`."""
        low, *_, high = self.arguments["widths"]
        x = layers.prepare_images(images, self.arguments["mean"], self.arguments["std"])
        # The ends are known when the step is traced, which makes them faster.
        between = [self._logits(x, _at_tensor(drawn[k])) for k in range(1, self.drawn - 1)]
        narrowest, widest = (self._logits(x, at_width(width)) for width in (low, high))
        return [narrowest, *between, widest], []

    def _logits(self, x, at):
        stem, blocks = self.arguments["stem"], self.arguments["blocks"]
        return slimmable.mobilenet(x, stem, blocks, at, _LayersAt(self._shared))


def _at_tensor(width):
    """`at_width` for a width that is a float64 tensor."""

    def at(channels):
        product = channels * width
        rounded = tf.maximum(8, tf.cast(product + 4, tf.int32) // 8 * 8)
        down = tf.cast(rounded, tf.float64) < 0.9 * product
        return tf.minimum(tf.where(down, rounded + 8, rounded), channels)

    return at


class _SharedLayers(slimmable.SharedLayers):
    """The layers of the widest network and their normalisations, shared by all widths."""

    def __init__(self, num_classes, stem, blocks, stem_strides, widths):
        super().__init__(num_classes, stem, blocks, stem_strides)
        outputs = {"stem": stem}
        for number, (channels, _) in enumerate(blocks, 1):
            outputs[f"block_{number}_depthwise"] = outputs[next(reversed(outputs))]
            outputs[f"block_{number}_pointwise"] = channels
        self.norms = {
            f"{layer}_norm": SharedBatchNormalization(
                [slimmable.channels_at(channels, width) for width in widths], name=f"{layer}_norm"
            )
            for layer, channels in outputs.items()
        }


class _LayersAt:
    """Calls the shared layers; normalises by the batch, in inference by a named width's number."""

    def __init__(self, shared, number=None, width=None):
        self.shared, self.number, self.width = shared, number, width

    def conv(self, x, name, filters, kernel_size):
        return self.shared.convs[name](x, filters=filters)

    def depthwise(self, x, name, strides):
        return self.shared.convs[name](x)

    def norm(self, x, name):
        return self.shared.norms[name](x, submodel=self.number)

    def dense(self, x, name):
        logits = self.shared.logits(x)
        if self.number is None:
            return tf.cast(logits, tf.float32)
        return slimmable.name_logits(logits, slimmable.submodel_at(self.width))
