"""The elastic layers of once-for-all networks, and who calls them for which sub-model."""

import copy
import functools

import keras
import tensorflow as tf

from ipkd_tf.models import blocks, layers
from ipkd_tf.models.ofa_space import pick
from ipkd_tf.models.shared_norm import SharedBatchNormalization
from ipkd_tf.models.slimmable_layers import (
    SlicedLayer,
    SlimmableConv2D,
    SlimmableDense,
    channels,
    convolve_depthwise,
    leading,
)


@keras.saving.register_keras_serializable("ipkd_tf")
class ElasticDepthwiseConv2D(SlicedLayer):
    """Depthwise convolution of several kernel sizes, each the centre of the next larger one.

    In each channel k5 = M vec(centre 5 x 5 of k7) and k3 = M' vec(centre 3 x 3 of k5), row by row.
    The matrices serve all channels. The weights are their differences from the identity: at the
    start a smaller kernel is the bare centre, and weight decay pulls it back there.
    """

    def __init__(
        self, channels, kernel_sizes, strides=1, kernel_initializer="glorot_uniform", **kwargs
    ):
        super().__init__(**kwargs)
        settings = {"channels": channels, "kernel_sizes": list(kernel_sizes), "strides": strides}
        self.set_arguments(kernel_initializer, **settings)

    def build(self, input_shape):
        *smaller, side = self.kernel_sizes
        self.add_kernel(side, side, self.channels, 1, name="depthwise_kernel")
        self.transforms = [
            self.add_weight(shape=(s * s, s * s), initializer="zeros", name=f"transform_{s}")
            for s in smaller
        ]

    def active_kernel(self, size, channels):
        """The kernel `[side, side, channels, 1]` of a size, 0 for the smallest."""
        return self.active_kernels(size, channels)[0]

    def active_kernels(self, size, channels):
        """List of the kernels of a size and of all larger ones."""
        side = self.kernel_sizes[-1]
        kernels = [leading(self.kernel, side, side, channels, 1)]
        for smaller in reversed(range(size, len(self.transforms))):
            kernels.insert(0, self._transform(kernels[0], smaller))
        return kernels

    def _transform(self, kernel, size):
        side, transform = self.kernel_sizes[size], tf.convert_to_tensor(self.transforms[size])
        margin = (kernel.shape[0] - side) // 2
        centre = kernel[margin : margin + side, margin : margin + side]
        centre = tf.reshape(centre, [side * side, -1])
        return tf.reshape(centre + tf.matmul(transform, centre), [side, side, -1, 1])

    def call(self, inputs, size):
        """Convolves the leading channels; `size` is a number, or an int32 scalar tensor."""
        if isinstance(size, int):
            kernel = self.active_kernel(size, channels(inputs))
            return convolve_depthwise(inputs, kernel, self.strides)
        kernels = self.active_kernels(0, channels(inputs))
        runs = [functools.partial(convolve_depthwise, inputs, k, self.strides) for k in kernels]
        return tf.switch_case(size, runs)


@tf.custom_gradient
def hard_silu(x):
    """x relu6(x + 3) / 6, with a gradient of fewer operations than Keras's."""
    gate = tf.nn.relu6(x + 3.0) * (1 / 6)
    inside = tf.logical_and(x > -3.0, x < 3.0)
    return x * gate, lambda slope: slope * (gate + tf.where(inside, x * (1 / 6), 0.0))


def mobilenet(x, space, row, make):
    """The graph of one sub-model, whose positions in the space's choices are `row`, to logits."""
    x = make.resize(x, space, row[-1])
    x = make.conv(x, "stem", space.stem, "hard_silu", 3, space.stem_strides)
    y = make.depthwise(x, "first_depthwise", (3,), 0, "relu")
    x = keras.ops.add(x, make.conv(y, "first_project", space.stem))
    for block, size, expansion, active in space.active_blocks(row):
        run = functools.partial(_inverted_residual, x, space, block, size, expansion, make)
        x = run() if active is True else make.run_if(active, run, x)
    final, mix = space.head
    x = make.conv(x, "final", final, "hard_silu")
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = make.activate(make.layer_conv(x, "mix", mix), "hard_silu")
    return make.logits(keras.layers.Flatten()(x))


def _inverted_residual(x, space, block, size, expansion, make):
    middle, squeezed = (
        pick([width(e) for e in space.expansions], expansion)
        for width in (block.middle, block.squeezed)
    )
    name, activation = block.name, block.activation
    y = make.conv(x, f"{name}_expand", middle, activation)
    y = make.depthwise(
        y, f"{name}_depthwise", space.kernels, size, activation, strides=block.strides
    )
    if block.squeeze:
        scale = keras.layers.GlobalAveragePooling2D()(y)
        scale = make.activate(make.dense(scale, f"{name}_squeeze", squeezed), "relu")
        scale = make.activate(make.dense(scale, f"{name}_excite", middle), "hard_sigmoid")
        y = keras.ops.multiply(y, keras.ops.expand_dims(scale, (1, 2)))
    y = make.conv(y, f"{name}_project", block.filters)
    return keras.ops.add(x, y) if block.residual else y


class _Layers:
    """What is alike whoever supplies the layers."""

    def conv(self, x, name, filters, activation=None, kernel_size=1, strides=1):
        """Convolution, normalisation, activation if there is one."""
        x = self.norm(self.layer_conv(x, name, filters, kernel_size, strides), f"{name}_norm")
        return self.activate(x, activation)

    def depthwise(self, x, name, sizes, size, activation, strides=1):
        """Depthwise convolution, the kernel `sizes[size]`, normalisation, activation."""
        x = self.norm(self.layer_depthwise(x, name, sizes, size, strides), f"{name}_norm")
        return self.activate(x, activation)

    def activate(self, x, activation):
        return keras.layers.Activation(activation)(x) if activation else x


class SharedLayers(_Layers):
    """The layers of the largest sub-model, which all share; named `rows` have statistics."""

    def __init__(self, space, rows, num_classes):
        self.by_name, self.named, self.number = {}, len(rows), None
        stem, (final, mix) = space.stem, space.head
        self._add_conv("stem", space.channels, stem, 3, space.stem_strides)
        self._add_depthwise("first_depthwise", stem, (3,))
        self._add_conv("first_project", stem, stem)
        expansions = [{block: e for block, _, e, _ in space.active_blocks(row)} for row in rows]
        for block in (block for stage in space.blocks for block in stage):
            widths = [block.middle(e) for e in space.expansions]
            # 0 in a named sub-model without the block
            sizes = [widths[of[block]] if block in of else 0 for of in expansions]
            name, middle = block.name, widths[-1]
            self._add_conv(f"{name}_expand", block.in_channels, middle, sizes=sizes)
            self._add_depthwise(f"{name}_depthwise", middle, space.kernels, block.strides, sizes)
            if block.squeeze:
                squeezed = block.squeezed(space.expansions[-1])
                self._add_dense(f"{name}_squeeze", middle, squeezed)
                self._add_dense(f"{name}_excite", squeezed, middle)
            used = [block.filters * bool(size) for size in sizes]
            self._add_conv(f"{name}_project", middle, block.filters, sizes=used)
        self._add_conv("final", space.blocks[-1][-1].filters, final)
        self.by_name["mix"] = _conv("mix", final, mix)
        self._add_dense("logits", mix, num_classes)

    def _add_conv(self, name, in_channels, filters, side=1, strides=1, sizes=None):
        conv = _conv(name, in_channels, filters, side, strides)
        self._add(conv, sizes or [filters] * self.named)

    def _add_depthwise(self, name, channels, kernel_sizes, strides=1, sizes=None):
        settings = channels, kernel_sizes, strides, blocks.he_normal()
        self._add(ElasticDepthwiseConv2D(*settings, name=name), sizes or [channels] * self.named)

    def _add(self, layer, sizes):
        norm = SharedBatchNormalization(sizes, name=f"{layer.name}_norm")
        self.by_name |= {layer.name: layer, norm.name: norm}

    def _add_dense(self, name, in_features, units):
        initializer = blocks.pytorch_uniform(in_features)["kernel_initializer"]
        self.by_name[name] = SlimmableDense(in_features, units, initializer, name=name)

    def of(self, number):
        """The same, called with the statistics of a named sub-model; None: of the batch."""
        other = copy.copy(self)
        other.number = number
        return other

    def resize(self, x, space, position):
        if set(space.sides) == {x.shape[1]}:
            return x
        return keras.layers.Resizing(pick(space.sides, position), pick(space.widths, position))(x)

    def layer_conv(self, x, name, filters, kernel_size=1, strides=1):
        return self.by_name[name](x, filters=filters)

    def layer_depthwise(self, x, name, sizes, size, strides):
        return self.by_name[name](x, size=size)

    def norm(self, x, name):
        return self.by_name[name](x, submodel=self.number)

    def dense(self, x, name, units):
        return self.by_name[name](x, units=units)

    def activate(self, x, activation):
        if activation == "hard_silu" and self.number is None:
            return hard_silu(x)
        return layers.ReLU()(x) if activation == "relu" else super().activate(x, activation)

    def run_if(self, active, run, x):
        return self.by_name["stem_norm"].run_if(active, run, x)

    def logits(self, x):
        return self.by_name["logits"](x)


class PlainLayers(_Layers):
    """Makes the layers of a single network: Keras's own, loadable without this package."""

    def __init__(self, num_classes):
        self.plain = blocks.PlainLayers(num_classes)
        self.layer_conv, self.norm = self.plain.conv, self.plain.norm
        self.logits = self.plain.logits

    def resize(self, x, space, position):
        side, width = space.sides[position], space.widths[position]
        return x if side == x.shape[1] else keras.layers.Resizing(side, width)(x)

    def layer_depthwise(self, x, name, sizes, size, strides):
        return self.plain.depthwise(x, name, strides, sizes[size])

    def dense(self, x, name, units):
        return keras.layers.Dense(units, name=name)(x)


def _conv(name, in_channels, filters, side=1, strides=1):
    return SlimmableConv2D(in_channels, filters, side, strides, blocks.he_normal(), name=name)
