"""Switchable precision: one residual network that runs at any of several numbers of bits."""

import math
import re
from collections.abc import Sequence

import keras

from ipkd_tf.models import blocks, cost, flexible, resnet
from ipkd_tf.models import quantized_layers as quantized
from ipkd_tf.output.checks import check, check_choice, is_ascending

_QUANTIZED = re.compile(r"stage_\d+_block_\d+_conv_\d+")


def _packed_bytes(model, submodel):
    """Bytes of the parameters: quantised kernels at their bits, the rest as float32."""
    packed = sum(math.prod(layer.kernel.shape) for layer in _quantized_layers(model))
    rest = cost.parameters(model) - packed
    return math.ceil(packed * submodel.choice[0] / 8) + 4 * rest


def _bit_operations(model, submodel):
    """Multiply-adds of the quantised convolutions times the bits of both factors."""
    multiply_adds = sum(
        math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:-1])
        for layer in _quantized_layers(model)
    )
    return multiply_adds * submodel.choice[0] ** 2


def _quantized_layers(model):
    return [layer for layer in model.layers if _QUANTIZED.fullmatch(layer.name)]


@keras.saving.register_keras_serializable("ipkd_tf")
class SPResNet(flexible.FlexibleNetwork):
    """A residual network as `ResNet` whose weights and activations have any of several precisions.

    One set of float weights is quantised anew to each number of bits, straight-through: kernels
    and inputs of the 3x3 convolutions of all blocks. The first convolution, shortcuts (and what
    they add up), and the dense layer stay in 32 bits. Batch normalisation is private to each
    precision, also that of shortcuts. At 32 bits it is an ordinary residual network.

    Published are one set of weights at several precisions, private normalisation and distillation
    from the highest. Published by two relatives are the quantisers: `dorefa` (Any-Precision DNNs),
    and `nested` (AdaBits), where the leading bits of an 8-bit code are the code at fewer bits, so
    that one stored tensor serves all. Ours are the middles of intervals as values, which leave two
    signs to 1 bit, and the float weights themselves at 32.

    Args:
        num_classes: Number of classes.
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        depth: Layers with weights, shortcuts not counted: 2, and 2 for each block.
        channels: Channels of each stage.
        bits: Numbers of bits, of weights and activations alike, ascending: from 1 to 8, and 32.
        scheme: Which codes weights get: `nested` or `dorefa`.

    Returns:
        Logits `[batch, num_classes]` at each precision, lowest first: `bits_1`, `bits_2`, ...

    Example:
        >>> network = SPResNet(num_classes=100, bits=(2, 4, 8))
        >>> network.submodel("bits_2").save("bits_2.keras")

    Source: Guerra et al., Switchable Precision Neural Networks, 2020; Yu et al., Any-Precision Deep
    Neural Networks, AAAI 2021; Jin et al., AdaBits, CVPR 2020.
    """

    rounds_activations = True
    costs = (
        *cost.COSTS,
        cost.Cost("packed_bytes", "packed bytes", "KiB", 1024, _packed_bytes),
        cost.Cost("bit_operations", "bit operations", "G", 1e9, _bit_operations),
    )

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        depth: int = 20,
        channels: Sequence[int] = (16, 32, 64),
        bits: Sequence[int] = (1, 2, 4, 8, 32),
        scheme: str = "nested",
        name: str | None = None,
    ):
        known = (*range(1, 9), quantized.FLOAT)
        check(
            bits and is_ascending(bits) and all(isinstance(b, int) and b in known for b in bits),
            "numbers of bits from 1 to 8 and 32, ascending, such as 1,2,4,8,32",
            bits=bits,
        )
        check_choice(quantized.SCHEMES, scheme=scheme)
        resnet.count_blocks(depth, channels)  # refuses a depth out of range, before all else
        shared = {}
        precisions = [_LayersAtPrecision(shared, b, num_classes, scheme) for b in bits]
        # The first convolution is the same at all precisions, and computed once.
        images, x = blocks.image_input(self.arguments)
        x = precisions[0].conv(x, "stem", channels[0])
        outputs = [make.logits(resnet.features(x, depth, channels, make)) for make in precisions]
        submodels = [_submodel_at(number) for number in bits]
        super().__init__(inputs=images, outputs=outputs, submodels=submodels, name=name)

    def build_submodel(self, submodel):
        depth, channels = (self.arguments[key] for key in ("depth", "channels"))
        plain = _PlainLayers(self.arguments["num_classes"], *submodel.choice)
        images, x = blocks.image_input(self.arguments)
        x = resnet.features(plain.conv(x, "stem", channels[0]), depth, channels, plain)
        return keras.Model(images, plain.logits(x), name=submodel.name)

    def weights_of(self, submodel, layer):
        if codes := self.codes_of(submodel, layer):
            return [codes.values()]
        private = isinstance(layer, keras.layers.BatchNormalization)
        name = f"{submodel.name}_{layer.name}" if private else layer.name
        return self.get_layer(name).get_weights()

    def codes_of(self, submodel, layer):
        (bits,) = submodel.choice
        if bits == quantized.FLOAT or not _QUANTIZED.fullmatch(layer.name):
            return None
        kernel = self.get_layer(layer.name).kernel
        return quantized.weight_codes(kernel, bits, self.arguments["scheme"])


def _submodel_at(bits):
    return flexible.Submodel(f"bits_{bits}", (bits,))


class _LayersAtPrecision:
    """Calls the layers that all precisions share, with batch normalisation of this one's own."""

    def __init__(self, shared, bits, num_classes, scheme):
        self._shared = shared
        self._bits = bits
        self._num_classes = num_classes
        self._scheme = scheme

    def _layer(self, name, make):
        """The shared layer of a name, made by the first precision."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]

    def conv(self, x, name, filters, kernel_size=3, strides=1):
        if _QUANTIZED.fullmatch(name):
            arguments = filters, kernel_size, strides, self._scheme
            layer = self._layer(name, lambda: quantized.QuantizedConv2D(*arguments, name=name))
            return layer(x, bits=self._bits)
        settings = {"padding": "same", "use_bias": False, "name": name}
        return self._layer(
            name,
            lambda: keras.layers.Conv2D(
                filters, kernel_size, kernel_initializer=blocks.he_normal(), **settings
            ),
        )(x)

    def norm(self, x, name):
        name = f"{_submodel_at(self._bits).name}_{name}_norm"
        return quantized.ReproducibleNormalization(name=name)(x)

    def relu(self, x):
        return blocks.relu(x)

    def logits(self, x):
        settings = {"dtype": "float32", "name": "logits", **blocks.pytorch_uniform(x.shape[-1])}
        layer = self._layer("logits", lambda: keras.layers.Dense(self._num_classes, **settings))
        return blocks.name_logits(layer(x), _submodel_at(self._bits))


class _PlainLayers(blocks.PlainLayers):
    """Makes the layers of a single precision."""

    def __init__(self, num_classes, bits):
        super().__init__(num_classes)
        self._bits = bits

    def conv(self, x, name, filters, kernel_size=3, strides=1):
        if _QUANTIZED.fullmatch(name):
            x = quantized.quantize_activation(x, self._bits)
        return super().conv(x, name, filters, kernel_size, strides)

    def norm(self, x, name):
        return super().norm(x, f"{name}_norm")
