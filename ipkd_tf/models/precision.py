"""In which precision layers compute: Keras's policies, and bfloat16 by shape on a CPU."""

import pathlib
import re

import keras
import tensorflow as tf

# A product runs in bfloat16 if it does as many multiply-adds for each number that it reads or
# writes. Casting costs time for each number, so smaller ones lose. Measured for all convolutions
# of MSDNet and the slimmable MobileNet-V1: docs/benchmarks.md, "bfloat16 on a CPU".
INTENSITY = 26
CPU_FLAGS = "/proc/cpuinfo"


@keras.saving.register_keras_serializable("ipkd_tf")
class Bfloat16Products(keras.DTypePolicy):
    """Computes in float32, but for the products that are faster in bfloat16 on a CPU.

    Those are convolutions of our layers with many multiply-adds for each number. Their inputs are
    rounded to bfloat16, their sums are kept in float32, their results rounded once more; so are
    those of their gradients. Normalisation, depthwise convolutions, losses, weights and optimizer
    are float32.

    Example:
        >>> keras.config.set_dtype_policy(Bfloat16Products())
        >>> network = ipkd_tf.models.MSDNet()
    """

    def __init__(self, name: str = "float32"):
        super().__init__(name)


def policy(precision: str) -> keras.DTypePolicy:
    """The Keras policy of a precision on this machine.

    Raises:
        ValueError: `mixed_bfloat16` on a machine that has no instructions for it.

    Example:
        >>> keras.config.set_dtype_policy(policy("mixed_bfloat16"))
    """
    if not is_available(precision):
        raise ValueError(
            "bfloat16 needs a GPU, a TPU or a CPU with AVX512-BF16 or AMX; elsewhere it is slower "
            f"than float32. Received: precision={precision!r}"
        )
    on_cpu = precision == "mixed_bfloat16" and not _has_accelerator()
    return Bfloat16Products() if on_cpu else keras.DTypePolicy(precision)


def is_available(precision: str) -> bool:
    """Whether this machine has instructions for a precision."""
    return precision != "mixed_bfloat16" or _has_accelerator() or _cpu_has_bfloat16()


def _has_accelerator():
    return any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU"))


def _cpu_has_bfloat16():
    try:
        flags = pathlib.Path(CPU_FLAGS).read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) is not None


def gains(
    dtype_policy: keras.DTypePolicy, area: int, channels: int, filters: int, strides: int = 1
) -> bool:
    """Whether a convolution with kernels of `area` pixels is faster in bfloat16, and may be."""
    numbers = strides**2 * channels + filters  # for each pixel of the result
    enough = area * channels * filters >= INTENSITY * numbers
    return isinstance(dtype_policy, Bfloat16Products) and enough


def matmul(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The product of two float32 matrices by bfloat16 arithmetic."""
    return _wide(tf.matmul(_narrow(a), _narrow(b)))


def convolve(images: tf.Tensor, kernel: tf.Tensor, strides: int, padding: str) -> tf.Tensor:
    """The convolution of float32 images with a float32 kernel by bfloat16 arithmetic."""
    if strides == 1:
        return _wide(tf.nn.conv2d(_narrow(images), _narrow(kernel), strides, padding))
    return _strided(images, kernel, strides, padding)


def _strided(images, kernel, strides, padding):
    """As `convolve`, but for the kernel's gradient, which oneDNN has slower in bfloat16."""

    @tf.custom_gradient
    def run(images, kernel):
        narrow, steps = _narrow(kernel), [1, strides, strides, 1]

        def gradients(slope):
            to_images = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images),
                filter=narrow,
                out_backprop=_narrow(slope),
                strides=steps,
                padding=padding,
            )
            to_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=images,
                filter_sizes=tf.shape(kernel),
                out_backprop=slope,
                strides=steps,
                padding=padding,
            )
            return _wide(to_images), to_kernel

        return _wide(tf.nn.conv2d(_narrow(images), narrow, strides, padding)), gradients

    return run(images, tf.convert_to_tensor(kernel))


def _narrow(tensor):
    return tf.cast(tensor, tf.bfloat16)


def _wide(tensor):
    return tf.cast(tensor, tf.float32)
