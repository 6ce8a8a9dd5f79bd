"""Images in memory, and how much of it is free."""

import contextlib
import functools
import os
import pathlib

import numpy as np
import psutil
import tensorflow as tf

from ipkd_tf.data import image_file
from ipkd_tf.output.checks import check

_CGROUP = pathlib.Path("/sys/fs/cgroup")
_BATCH = 256  # images read at a time
_ALIGNMENT = 64  # bytes, of arrays that TensorFlow shares instead of copying


class Pixels:
    """The source that is a uint8 array `[total, height, width, 1 or 3]`."""

    def __init__(self, array, skipped=None):
        dtype, shape = getattr(array, "dtype", type(array)), getattr(array, "shape", None)
        fits = dtype == np.uint8 and shape and len(shape) == 4 and shape[-1] in (1, 3)
        expected = "images as a uint8 array [examples, height, width, 1 or 3], values 0..255"
        check(fits, expected, **{"images.dtype": str(dtype), "images.shape": shape})
        check(0 not in shape, "at least one image", **{"images.shape": shape})
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
    """Reads these rows of a source into memory, as `Pixels`; ValueError names all broken images."""
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


def cores():
    """How many of the processor's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def free_memory():
    """Bytes that this process may still take: of the machine, and of its container, if any."""
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        limit, used = (
            int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        cached = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        free = min(free, limit - used + int(cached.get("inactive_file", 0)))
    return max(free, 0)
