"""Keras's layers on faster kernels, and layers whose leading slices serve every width."""

import keras
import tensorflow as tf


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

    def __init__(self, axis=-1, momentum=0.9, epsilon=1e-5, **kwargs):
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
        each_pixel = (*self.kernel_size, *self.strides, self.groups) == (1, 1, 1, 1, 1)
        if each_pixel and self.data_format == "channels_last":
            return _product_at_each_pixel(inputs, kernel)
        return super().convolution_op(inputs, kernel)


def _product_at_each_pixel(inputs, kernel):
    """Convolves `[batch, height, width, in]` with a kernel `[1, 1, in, filters]`."""
    return tf.tensordot(inputs, tf.reshape(kernel, kernel.shape[2:]), axes=1)


def _leading(kernel, sizes):
    """The leading slice of a kernel. (The gradient of `kernel[:n]` takes twenty times as long.)"""
    return tf.slice(kernel, [0] * len(sizes), sizes)


@keras.saving.register_keras_serializable("ipkd_tf")
class SlimmableConv2D(keras.layers.Layer):
    """Convolution without bias whose kernel's leading slice `[..., :in, :filters]` serves a width.

    Pads as Keras does with `padding="same"`.

    Args:
        in_channels: Input channels of the widest network.
        filters: Output channels of the widest network.
        kernel_size: Side of the square kernel.
        strides: Step in both directions.
        kernel_initializer: For the whole kernel `[kernel, kernel, in_channels, filters]`.

    Example:
        >>> conv = SlimmableConv2D(32, 64, 3)
        >>> narrow = conv(images_with_8_channels, filters=16)  # uses kernel[:, :, :8, :16]

    Source: Yu et al., Slimmable Neural Networks, ICLR 2019.
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
        self.in_channels = in_channels
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        side = self.kernel_size
        self.kernel = self.add_weight(
            shape=(side, side, self.in_channels, self.filters),
            initializer=self.kernel_initializer,
            name="kernel",
        )

    def call(self, inputs, filters):
        """Convolves `[batch, height, width, in]` to `[batch, ..., filters]` at that width."""
        side = self.kernel_size
        kernel = _leading(self.kernel, [side, side, inputs.shape[-1], filters])
        if side == self.strides == 1:
            return _product_at_each_pixel(inputs, kernel)
        return tf.nn.conv2d(inputs, kernel, self.strides, "SAME")

    def get_config(self):
        return {
            **super().get_config(),
            "in_channels": self.in_channels,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("ipkd_tf")
class SlimmableDepthwiseConv2D(keras.layers.Layer):
    """Depthwise convolution whose leading channels serve every width; see `SlimmableConv2D`.

    Args:
        channels: Channels of the widest network.
        kernel_size: Side of the square kernel.
        strides: Step in both directions.
        kernel_initializer: For the kernel `[kernel, kernel, channels, 1]`.

    Example:
        >>> SlimmableDepthwiseConv2D(64)(images_with_16_channels)  # uses kernel[:, :, :16]
    """

    def __init__(
        self, channels, kernel_size=3, strides=1, kernel_initializer="glorot_uniform", **kwargs
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.kernel_size = kernel_size
        self.strides = strides
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, self.channels, 1),
            initializer=self.kernel_initializer,
            name="depthwise_kernel",
        )

    def call(self, inputs):
        """Convolves each of the leading channels `[batch, height, width, channels]` by itself."""
        side, strides = self.kernel_size, [1, self.strides, self.strides, 1]
        kernel = _leading(self.kernel, [side, side, inputs.shape[-1], 1])
        if self.strides == 1 and all(size and size < side for size in inputs.shape[1:3]):
            # oneDNN's filter gradient takes ten times as long if it pads such small maps itself.
            pad = [(side - 1) // 2, side // 2]
            padded = tf.pad(inputs, [[0, 0], pad, pad, [0, 0]])
            return tf.nn.depthwise_conv2d(padded, kernel, strides, "VALID")
        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME")

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("ipkd_tf")
class SlimmableDense(keras.layers.Layer):
    """Dense layer with bias whose leading input rows serve every width; all units stay.

    Args:
        in_features: Input features of the widest network.
        units: Outputs, the same at every width.
        kernel_initializer: For the kernel `[in_features, units]`.

    Example:
        >>> SlimmableDense(1024, 10)(features_256)  # uses kernel[:256]
    """

    def __init__(self, in_features, units, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.in_features = in_features
        self.units = units
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(self.in_features, self.units), initializer=self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs):
        """Maps `[batch, features]` to `[batch, units]`."""
        kernel = _leading(self.kernel, [inputs.shape[-1], self.units])
        return tf.matmul(inputs, kernel) + self.bias

    def get_config(self):
        return {
            **super().get_config(),
            "in_features": self.in_features,
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def prepare_images(images, mean, std):
    """Scales images in 0..255 to zero mean and unit deviation per channel, for the networks here.

    Args:
        images: `[batch, height, width, 3]`, uint8 or float in 0..255.
        mean: Mean of each channel, as a share of 255.
        std: Standard deviation of each channel, as a share of 255.
    """
    scale = [1.0 / (255.0 * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    normalized = keras.layers.Rescaling(scale, offset, name="normalize")(images)
    # Turned by 180 degrees, and so are all kernels: where a side is even and the stride 2,
    # PyTorch's padding of 1 comes to one row above and one column to the left, TensorFlow's "same"
    # to one below and one to the right. Turned they are equal, and no layer has to copy its input
    # to pad it. (A 1 x 1 convolution of stride 2 must read rows and columns 1, 3, ... instead.)
    return keras.ops.flip(normalized, axis=(1, 2))
