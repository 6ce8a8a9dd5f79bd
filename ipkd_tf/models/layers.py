"""Keras's layers on faster kernels, and how images enter a network."""

import typing
from collections.abc import Sequence

import keras
import tensorflow as tf

from ipkd_tf.models import precision


@keras.saving.register_keras_serializable("ipkd_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation in one kernel, with PyTorch's conventions.

    Keras 3 computes the moments, the normalisation and their gradients as separate TensorFlow
    operations; `FusedBatchNormV3` does the same in one. Where the kernel does not apply (inputs
    that are not `[batch, height, width, channels]`, a mask, statistics synchronised over replicas)
    the Keras implementation is used. Either way the running variance is the unbiased one, as
    PyTorch keeps it; the batch itself is normalised with the biased variance.

    Args:
        momentum: Share of the old running statistics kept at an update; 0.9 is PyTorch's 0.1.
        epsilon: Added to the variance.
        **kwargs: As `keras.layers.BatchNormalization`.

    Example:
        >>> BatchNormalization()(images, training=True)  # [batch, height, width, channels]

    Source: Ioffe & Szegedy, 2015; conventions of `torch.nn.BatchNorm2d`.
    """

    def __init__(
        self, axis: int = -1, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs: typing.Any
    ):
        super().__init__(axis=axis, momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs, training=None, mask=None):
        training = bool(training) and self.trainable
        if self._fusible(inputs, mask):
            return self._fused(inputs, training)
        if training and mask is None:
            return self._unfused_training(inputs)
        return super().call(inputs, training=training, mask=mask)

    def _fusible(self, inputs, mask):
        synchronises = self.synchronized and tf.distribute.get_strategy().num_replicas_in_sync > 1
        channels_last = len(inputs.shape) == 4 and self.axis in (3, -1)
        affine = self.scale and self.center and not self.renorm
        return channels_last and affine and mask is None and not synchronises

    def _fused(self, inputs, training):
        inputs = tf.cast(inputs, self.compute_dtype)
        statistics = (
            {} if training else {"mean": self.moving_mean, "variance": self.moving_variance}
        )
        empty = {"mean": tf.zeros([0]), "variance": tf.zeros([0])}
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            epsilon=self.epsilon,
            is_training=training,
            **{k: tf.convert_to_tensor(v) for k, v in (statistics or empty).items()},
        )
        if training:
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        return outputs

    def _move(self, statistic, value):
        statistic.assign(statistic * self.momentum + value * (1.0 - self.momentum))

    def _unfused_training(self, inputs):
        before = tf.identity(tf.convert_to_tensor(self.moving_variance)) * self.momentum
        outputs = super().call(inputs, training=True)
        count = tf.cast(tf.size(inputs) // inputs.shape[self.axis], self.moving_variance.dtype)
        if self.synchronized and tf.distribute.get_replica_context().num_replicas_in_sync > 1:
            count = tf.distribute.get_replica_context().all_reduce("SUM", count)
        unbiased = count / tf.maximum(count - 1.0, 1.0)
        # Keras has moved the variance towards the biased one of the batch: scale that step.
        self.moving_variance.assign(before + (self.moving_variance - before) * unbiased)
        return outputs


@keras.saving.register_keras_serializable("ipkd_tf")
class ReLU(keras.layers.Layer):
    """max(x, 0), kept apart from the batch normalisation before it.

    TensorFlow fuses a `Relu` into the normalisation kernel. On a CPU that kernel has no vector code
    for channel counts that are not multiples of 8, and the two together take about 2.5 times as
    long as one after the other. The same function under another name escapes the fusion.

    Example:
        >>> ReLU()(BatchNormalization()(images))
    """

    def call(self, inputs):
        """Maps a tensor of any shape to one of the same shape."""
        return tf.nn.leaky_relu(inputs, alpha=0.0)


@keras.saving.register_keras_serializable("ipkd_tf")
class Conv2D(keras.layers.Conv2D):
    """Keras's convolution, but a pointwise one (1 x 1 at stride 1) is computed as a matrix product.

    The same function. On a CPU the product and its gradients are faster, most of all where channel
    counts are not multiples of 16.

    Example:
        >>> Conv2D(32, 1, use_bias=False)(images)  # [batch, height, width, 32]
    """

    def convolution_op(self, inputs, kernel):
        (side, width), (down, right) = self.kernel_size, self.strides
        ordinary = (self.groups, self.data_format) == (1, "channels_last")
        if not (ordinary and down == right and self.dilation_rate == (1, 1)):
            return super().convolution_op(inputs, kernel)
        narrow = precision.gains(self.dtype_policy, side * width, *kernel.shape[2:], down)
        if (side, width, down) == (1, 1, 1):
            return product_at_each_pixel(inputs, kernel, narrow)
        if narrow:
            return precision.convolve(inputs, kernel, down, self.padding.upper())
        return super().convolution_op(inputs, kernel)


def keras_kind(operation: typing.Any) -> type:
    """The class of an operation, or Keras's own where ours is that one but faster."""
    kind = type(operation)
    faster = kind in (BatchNormalization, Conv2D, ReLU)
    return getattr(keras.layers, kind.__name__) if faster else kind


def product_at_each_pixel(inputs: tf.Tensor, kernel: tf.Tensor, narrow: bool = False) -> tf.Tensor:
    """Convolves `[batch, height, width, in]` with a kernel `[1, 1, in, filters]`.

    `narrow` is for bfloat16 arithmetic on float32.
    """
    sides = [inputs.shape[axis] or tf.shape(inputs)[axis] for axis in (1, 2)]
    channels, filters = (kernel.shape[axis] or tf.shape(kernel)[axis] for axis in (2, 3))
    pixels = tf.reshape(inputs, [-1, channels])
    product = precision.matmul if narrow else tf.matmul
    products = product(pixels, tf.reshape(kernel, [channels, filters]))
    return tf.reshape(products, [-1, *sides, filters])


def prepare_images(images: typing.Any, mean: Sequence[float], std: Sequence[float]) -> typing.Any:
    """Scales images in 0..255 to zero mean and unit deviation per channel, for our networks."""
    scale = [1.0 / (255.0 * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    normalized = keras.layers.Rescaling(scale, offset, name="normalize")(images)
    # Turned by 180 degrees, and so are all kernels: where a side is even and the stride 2,
    # PyTorch's padding of 1 comes to one row above and one column to the left, TensorFlow's "same"
    # to one below and one to the right. Turned they are equal, and no layer has to copy its input
    # to pad it. (`subsample` and `pool` take out what they would on images the right way up.)
    return keras.ops.flip(normalized, axis=(1, 2))


def subsample(x: typing.Any, strides: int) -> typing.Any:
    """Every `strides`-th pixel, those that a 1 x 1 convolution reads."""
    if strides == 1:
        return x
    first_row, first_column = ((side - 1) % strides for side in x.shape[1:3])
    return x[:, first_row::strides, first_column::strides]


def pool(x: typing.Any, layer: keras.layers.Layer) -> typing.Any:
    """2 x 2 pooling, which leaves out a row or column of an odd side."""
    odd = [side % 2 for side in x.shape[1:3]]
    return layer(x[:, odd[0] :, odd[1] :] if any(odd) else x)
