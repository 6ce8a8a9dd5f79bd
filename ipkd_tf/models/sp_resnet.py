"""Switchable precision: one residual network that runs at any of several numbers of bits."""

import math
import re

import keras

from ipkd_tf.models import blocks, cost, flexible, layers, resnet
from ipkd_tf.models import quantized_layers as quantized
from ipkd_tf.models.slimmable_mobilenet_v1 import name_logits

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
        image_size: Height and width of the images, pixels.
        mean: Per channel mean of the images, as a share of 255.
        std: Per channel standard deviation of the images, as a share of 255.
        depth: Layers with weights, shortcuts not counted: 2, and 2 for each block.
        channels: Channels of each stage.
        bits: Numbers of bits, of weights and activations alike, ascending: from 1 to 8, and 32.
        scheme: Which codes weights get: `nested` or `dorefa`.

    Returns:
        Logits `[batch, num_classes]` at each precision, lowest first: `bits_1`, `bits_2`, ...

    Raises:
        ValueError: A setting is out of range.

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
        num_classes=10,
        image_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        depth=20,
        channels=(16, 32, 64),
        bits=(1, 2, 4, 8, 32),
        scheme="nested",
        name=None,
    ):
        flexible.check_positive(num_classes=num_classes, image_size=image_size)
        flexible.check_statistics(mean, std)
        _check_precisions(bits, scheme)
        resnet.count_blocks(depth, channels)  # of a depth that is out of range, before all else
        shared = {}
        precisions = [_LayersAtPrecision(shared, b, num_classes, scheme) for b in bits]
        # The first convolution is the same at all precisions, and computed once.
        images, x = _stem(self.arguments, precisions[0])
        outputs = [_resnet(x, depth, channels, make) for make in precisions]
        submodels = [_submodel_at(number) for number in bits]
        super().__init__(inputs=images, outputs=outputs, submodels=submodels, name=name)

    def build_submodel(self, submodel):
        plain = _PlainLayers(self.arguments["num_classes"], *submodel.choice)
        images, x = _stem(self.arguments, plain)
        logits = _resnet(x, self.arguments["depth"], self.arguments["channels"], plain)
        return keras.Model(images, logits, name=submodel.name)

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


def _check_precisions(bits, scheme):
    known = (*range(1, 9), quantized.FLOAT)
    ascending = list(bits) == sorted(set(bits))
    if not bits or not ascending or not all(isinstance(b, int) and b in known for b in bits):
        raise ValueError(
            "Expected numbers of bits from 1 to 8 and 32, ascending, such as 1,2,4,8,32. "
            f"Received: bits={bits!r}"
        )
    if scheme not in quantized.SCHEMES:
        raise ValueError(
            f"Expected a scheme from {', '.join(quantized.SCHEMES)}. Received: scheme={scheme!r}"
        )


def _stem(settings, make):
    """Symbolic images, and the first convolution of them."""
    images = keras.Input((settings["image_size"],) * 2 + (3,), name="image")
    x = layers.prepare_images(images, settings["mean"], settings["std"])
    return images, make.conv(x, "stem", settings["channels"][0], 3)


def _resnet(x, depth, channels, make):
    """The graph of one precision, from the first convolution to logits; `make` makes its layers."""
    x = make.relu(make.norm(x, "stem"))
    for stage, filters in enumerate(channels, 1):
        for block in range(1, resnet.count_blocks(depth, channels) + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _basic_block(x, f"stage_{stage}_block_{block}", filters, strides, make)
    return make.logits(keras.layers.GlobalAveragePooling2D()(x))


def _basic_block(x, name, filters, strides, make):
    shortcut, first, second = x, f"{name}_conv_1", f"{name}_conv_2"
    if strides != 1 or x.shape[-1] != filters:
        shortcut = make.conv(blocks.subsample(x, strides), f"{name}_shortcut", filters, 1)
        shortcut = make.norm(shortcut, f"{name}_shortcut")
    x = make.relu(make.norm(make.quantized_conv(x, first, filters, strides), first))
    x = make.norm(make.quantized_conv(x, second, filters, 1), second)
    return make.relu(keras.layers.Add()([x, shortcut]))


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
            self._shared[name] = make(name)
        return self._shared[name]

    def conv(self, x, name, filters, kernel_size):
        return self._layer(name, lambda name: _conv(name, filters, kernel_size))(x)

    def quantized_conv(self, x, name, filters, strides):
        layer = self._layer(
            name,
            lambda name: quantized.QuantizedConv2D(filters, 3, strides, self._scheme, name=name),
        )
        return layer(x, bits=self._bits)

    def norm(self, x, name):
        name = f"{_submodel_at(self._bits).name}_{name}_norm"
        return quantized.ReproducibleNormalization(name=name)(x)

    def relu(self, x):
        return blocks.relu(x)

    def logits(self, x):
        settings = blocks.pytorch_uniform(x.shape[-1])
        layer = self._layer("logits", lambda name: _dense(name, self._num_classes, **settings))
        return name_logits(layer(x), _submodel_at(self._bits))


class _PlainLayers:
    """Makes the layers of a single precision: Keras's own, loadable without this package."""

    def __init__(self, num_classes, bits):
        self._num_classes = num_classes
        self._bits = bits

    def conv(self, x, name, filters, kernel_size, strides=1):
        return _conv(name, filters, kernel_size, strides)(x)

    def quantized_conv(self, x, name, filters, strides):
        return self.conv(quantized.quantize_activation(x, self._bits), name, filters, 3, strides)

    def norm(self, x, name):
        layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")
        return layer(x)

    def relu(self, x):
        return keras.layers.ReLU()(x)

    def logits(self, x):
        return _dense("logits", self._num_classes)(x)


def _conv(name, filters, kernel_size, strides=1):
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=blocks.he_normal(),
        name=name,
    )


def _dense(name, units, **settings):
    return keras.layers.Dense(units, dtype="float32", name=name, **settings)
