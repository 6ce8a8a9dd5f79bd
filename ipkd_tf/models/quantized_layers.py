"""Weights and activations of few bits, trained straight through the rounding.

Sources: Zhou et al., DoReFa-Net, 2016, with the scale of SHI-Labs/Any-Precision-DNNs; Jin et al.,
AdaBits, CVPR 2020.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.models import blocks, layers
from ipkd_tf.output.checks import check

FLOAT = 32  # The number of bits at which nothing is quantised.
SCHEMES = ("nested", "dorefa")
_TINY = 1e-30  # A kernel of zeros has no largest weight to divide by.


@dataclasses.dataclass(frozen=True)
class Codes:
    """A weight as whole numbers of few bits."""

    codes: np.ndarray  # uint8, in the shape of the weight, 0 to 2^bits - 1
    bits: int  # 1 to 8
    scale: np.float32  # the mean absolute value of the float weight
    scheme: str  # from SCHEMES

    def values(self):
        """Returns the weight that is computed with, float32."""
        return np.float32(self.scale) * _values(self.codes.astype(np.float32), self)

    def at(self, bits):
        """Returns the codes at fewer bits, which nested ones hold as their leading bits."""
        if bits == self.bits:
            return self
        check(
            self.scheme == "nested" and 1 <= bits < self.bits,
            f"1 to {self.bits} bits, all of them unless the scheme is nested",
            bits=bits,
            scheme=self.scheme,
        )
        return dataclasses.replace(self, codes=self.codes >> (self.bits - bits), bits=bits)


def _values(codes, like):
    """Codes as values in -1..1, the middles of equal intervals (nested) or from end to end."""
    levels = 2**like.bits
    return (2 * codes + (1 - levels)) / (levels if like.scheme == "nested" else levels - 1)


def encode(unit, bits, scheme):
    """Codes of a tensor in 0..1, as floats: which of 2^bits equal intervals, or the nearest end.

    Codes of intervals are nested: the leading bits of one are the code at fewer bits.
    """
    if scheme == "nested":
        return tf.minimum(tf.floor(unit * 2**bits), 2**bits - 1)
    return tf.round(unit * (2**bits - 1))


def quantize_weight(weight, bits, scheme):
    """Returns a weight at some bits, with the gradient of the tensor before the rounding.

    u = tanh(w) / (2 max |tanh(w)|) + 1/2 is quantised, and scaled by the constant mean |w|.
    """
    if bits == FLOAT:
        return weight
    unit, scale = _unit_and_scale(weight)
    codes = Codes(encode(tf.stop_gradient(unit), bits, scheme), bits, scale, scheme)
    return scale * _straight_through(2 * unit - 1, _values(codes.codes, codes))


def weight_codes(weight, bits, scheme):
    """Returns the `Codes` with which `quantize_weight` computes."""
    unit, scale = _unit_and_scale(tf.convert_to_tensor(weight))
    codes = encode(unit, bits, scheme).numpy().astype(np.uint8)
    return Codes(codes, bits, scale.numpy(), scheme)


def _unit_and_scale(weight):
    squashed = tf.tanh(weight)
    largest = tf.maximum(tf.reduce_max(tf.abs(squashed)), _TINY)
    return squashed / (2 * largest) + 0.5, tf.stop_gradient(tf.reduce_mean(tf.abs(weight)))


def _straight_through(x, quantized):
    """The quantised tensor to the bit, with the gradient of x."""
    return quantized + (x - tf.stop_gradient(x))


def quantize_activation(x, bits):
    """Returns activations rounded to 2^bits levels from 0 to 1, computed in float32.

    The gradient is 1 inside and 0 outside. These are operations of Keras, which a saved model
    holds.
    """
    if bits == FLOAT:
        return x
    dtype, levels = keras.backend.standardize_dtype(x.dtype), 2**bits - 1
    # Half precision does not hold all levels.
    wide = x if dtype == "float32" else keras.ops.cast(x, "float32")
    clipped = keras.ops.relu6(6.0 * wide) / 6.0
    rounded = keras.ops.round(clipped * levels) / levels
    # Both differences are exact, as a value and its nearest level are 0 or within a factor of 2.
    quantized = clipped - keras.ops.stop_gradient(clipped - rounded)
    return quantized if dtype == "float32" else keras.ops.cast(quantized, dtype)


@keras.saving.register_keras_serializable("ipkd_tf")
class QuantizedConv2D(keras.layers.Layer):
    """A "same" convolution without bias; kernel and input are quantised to the bits of the call."""

    def __init__(self, filters, kernel_size=3, strides=1, scheme="nested", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.scheme = scheme

    def build(self, input_shape):
        side = self.kernel_size
        self.kernel = self.add_weight(
            shape=(side, side, input_shape[-1], self.filters),
            initializer=blocks.he_normal(),
            name="kernel",
            autocast=False,  # It is quantised before it is rounded to half precision.
        )

    def call(self, inputs, bits):
        """Convolves `[batch, height, width, channels]` to `[batch, ..., filters]`."""
        kernel = quantize_weight(tf.convert_to_tensor(self.kernel), bits, self.scheme)
        quantized = quantize_activation(inputs, bits)
        return tf.nn.conv2d(quantized, tf.cast(kernel, inputs.dtype), self.strides, "SAME")

    def get_config(self):
        names = ("filters", "kernel_size", "strides", "scheme")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("ipkd_tf")
class ReproducibleNormalization(layers.BatchNormalization):
    """Batch normalisation that in inference rounds exactly as Keras's own does in a sub-model.

    Where activations are quantised a last bit may move one over a step.
    """

    def call(self, inputs, training=None, mask=None):
        if training and self.trainable:
            return super().call(inputs, training=training, mask=mask)
        return keras.layers.BatchNormalization.call(self, inputs, training=False, mask=mask)
