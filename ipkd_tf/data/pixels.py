"""Images in memory."""

import contextlib
import functools

import numpy as np
import tensorflow as tf

from ipkd_tf.data import image_file

_BATCH = 256  # images read at a time
_ALIGNMENT = 64  # bytes, of arrays that TensorFlow shares instead of copying


class Pixels:
    """The source that is a uint8 array `[total, height, width, 3]`."""

    def __init__(self, array, skipped=None):
        dtype, shape = getattr(array, "dtype", type(array)), getattr(array, "shape", None)
        if dtype != np.uint8 or shape is None or len(shape) != 4 or shape[-1] != 3:
            raise ValueError(
                "Images must be a uint8 array [examples, height, width, 3] with values 0..255. "
                f"Received: images.dtype={dtype}, images.shape={shape}"
            )
        if 0 in shape:
            raise ValueError(f"There are no images. Received: images.shape={shape}")
        self._array, self.image_shape, self.skipped = array, shape[1:], skipped or {}

    def __len__(self):
        return len(self._array)

    def read(self, rows, windows=None):
        """The images of these rows, or windows of them, as an array."""
        if windows is None:
            return self._array[rows]
        one = image_file.scale_window
        return np.stack(
            [one(self._array[r], image_file.drawn(w)) for r, w in zip(rows, windows, strict=True)]
        )

    def gather(self, rows):
        """The images of a tensor of rows, as a tensor; called while `tf.data` traces."""
        return tf.gather(self._tensor, rows)

    @functools.cached_property
    def _tensor(self):
        return on_host(self._array)


def allocate(shape):
    """An uninitialised uint8 array that TensorFlow can share."""
    memory = np.empty(int(np.prod(shape)) + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : len(memory) - _ALIGNMENT + start].reshape(shape)


def on_host(array):
    """A constant in host memory, where tf.data runs; elsewhere it would be copied at each step."""
    with tf.init_scope(), tf.device("CPU:0"):
        if array.base is not None and array.ctypes.data % _ALIGNMENT == 0:  # from `allocate`
            return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
        return tf.constant(array)


def collect(source, rows, progress=None):
    """Reads these rows of a source into memory, as `Pixels`, and tells `progress`.

    Raises:
        ValueError: Images are broken; all of them are named.
    """
    images = allocate((len(rows), *source.image_shape))
    with getattr(source, "naming_all", contextlib.nullcontext)():
        for start in range(0, len(rows), _BATCH):
            part = slice(start, start + _BATCH)
            images[part] = source.read(rows[part])
            if progress:
                progress(min(start + _BATCH, len(rows)), len(rows))
    skipped = getattr(source, "skipped", {})
    places = {row: place for place, row in enumerate(rows)} if skipped else {}
    return Pixels(images, {places[row]: entry for row, entry in skipped.items()})
