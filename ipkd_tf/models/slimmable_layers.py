"""Layers whose kernels' leading slices serve every width.

A width is a Python int, or an int32 scalar tensor: then one traced function serves all widths.

Source: Yu et al., Slimmable Neural Networks, ICLR 2019.
"""

import inspect

import keras
import tensorflow as tf

from ipkd_tf.models import precision
from ipkd_tf.models.layers import product_at_each_pixel


def leading(weight, *sizes):
    """The leading slice of a weight. (The gradient of `weight[:n]` takes twenty times as long.)"""
    if all(isinstance(size, int) for size in sizes):
        return tf.slice(weight, [0] * len(sizes), sizes)

    @tf.custom_gradient
    def part(whole):
        # TensorFlow's own gradient makes ten operations, too many for steps of hundreds of slices.
        left_out = [[0, full - size] for full, size in zip(whole.shape, sizes, strict=True)]
        return tf.slice(whole, [0] * len(sizes), sizes), lambda slope: tf.pad(slope, left_out)

    return part(tf.convert_to_tensor(weight))


def channels(tensor):
    """The size of a tensor's last axis: an int where it is known, else a scalar tensor."""
    return tensor.shape[-1] or tf.shape(tensor)[-1]


def round_to_8(size):
    """The nearest multiple of 8, never more than 10 % below."""
    rounded = max(8, int(size + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * size else rounded


class SlicedLayer(keras.layers.Layer):
    """A layer with a kernel, whose constructor's arguments are its attributes and its config."""

    def set_arguments(self, kernel_initializer, **arguments):
        for name, value in arguments.items():
            setattr(self, name, value)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def add_kernel(self, *shape, name="kernel"):
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name=name)

    def get_config(self):
        names = [*inspect.signature(type(self)).parameters][:-1]  # without **kwargs
        config = {name: getattr(self, name) for name in names}
        config["kernel_initializer"] = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("ipkd_tf")
class SlimmableConv2D(SlicedLayer):
    """Convolution without bias; the kernel's leading slice `[..., :in, :filters]` serves a width.

    Channels and filters are those of the widest network; pads as Keras does with `padding="same"`.
    """

    def __init__(
        self,
        in_channels,
        filters,
        kernel_size=1,
        strides=1,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.set_arguments(
            kernel_initializer,
            in_channels=in_channels,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
        )

    def build(self, input_shape):
        self.add_kernel(self.kernel_size, self.kernel_size, self.in_channels, self.filters)

    def call(self, inputs, filters):
        """Convolves `[batch, height, width, in]` to `[batch, ..., filters]` at that width."""
        side = self.kernel_size
        kernel = leading(self.kernel, side, side, channels(inputs), filters)
        # Where the width is a tensor, the widest decides.
        sizes = inputs.shape[-1] or self.in_channels, kernel.shape[-1] or self.filters
        narrow = precision.gains(self.dtype_policy, side**2, *sizes, self.strides)
        if side == self.strides == 1:
            return product_at_each_pixel(inputs, kernel, narrow)
        convolve = precision.convolve if narrow else tf.nn.conv2d
        return convolve(inputs, kernel, self.strides, "SAME")


@keras.saving.register_keras_serializable("ipkd_tf")
class SlimmableDepthwiseConv2D(SlicedLayer):
    """Depthwise convolution whose leading channels serve every width; see `SlimmableConv2D`."""

    def __init__(
        self, channels, kernel_size=3, strides=1, kernel_initializer="glorot_uniform", **kwargs
    ):
        super().__init__(**kwargs)
        settings = {"channels": channels, "kernel_size": kernel_size, "strides": strides}
        self.set_arguments(kernel_initializer, **settings)

    def build(self, input_shape):
        side = self.kernel_size
        self.add_kernel(side, side, self.channels, 1, name="depthwise_kernel")

    def call(self, inputs):
        """Convolves each of the leading channels `[batch, height, width, channels]` by itself."""
        side = self.kernel_size
        kernel = leading(self.kernel, side, side, channels(inputs), 1)
        return convolve_depthwise(inputs, kernel, self.strides)


def convolve_depthwise(inputs, kernel, strides):
    """Depthwise convolution `[batch, height, width, channels]`, padded as `padding="same"` does."""
    side, steps = kernel.shape[0], [1, strides, strides, 1]
    if strides == 1 and all(size and size < side for size in inputs.shape[1:3]):
        # oneDNN's filter gradient takes ten times as long if it pads such small maps itself.
        pad = [(side - 1) // 2, side // 2]
        padded = tf.pad(inputs, [[0, 0], pad, pad, [0, 0]])
        return tf.nn.depthwise_conv2d(padded, kernel, steps, "VALID")
    return tf.nn.depthwise_conv2d(inputs, kernel, steps, "SAME")


@keras.saving.register_keras_serializable("ipkd_tf")
class SlimmableDense(SlicedLayer):
    """Dense layer whose leading input rows serve every width; a call may take fewer units."""

    def __init__(self, in_features, units, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.set_arguments(kernel_initializer, in_features=in_features, units=units)

    def build(self, input_shape):
        self.add_kernel(self.in_features, self.units)
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs, units=None):
        """Maps `[batch, features]` to `[batch, units]`, the leading ones."""
        bias = self.bias if units is None else leading(self.bias, units)
        kernel = leading(self.kernel, channels(inputs), self.units if units is None else units)
        return tf.matmul(inputs, kernel) + bias
