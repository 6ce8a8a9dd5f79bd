"""Images that stay in their files or records, and are decoded when asked for.

What took long to find out about files is kept until they change.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import json
import math
import os
import pathlib

import numpy as np

from ipkd_tf.data import image_file
from ipkd_tf.data.pixels import cores
from ipkd_tf.output import files

_LISTED = 20  # broken files that are named
FROM = 100_000  # images: what concerns fewer is found out anew each time


class Originals:
    """A source for `Examples` that reads and decodes at each call, in threads.

    `open_row` gives the path or bytes of a row's file, `names` what messages call it; `centre_crop`
    None insists on originals of the size. `skipped` holds (name, what is wrong) of broken images by
    row.
    """

    def __init__(self, open_row, names, total, shape, centre_crop=0.0, skip_broken=0):
        self.image_shape, self.scaled = tuple(shape), centre_crop is not None
        self._open, self._names, self._total = open_row, names, total
        aspect = shape[1] / shape[0]
        self._whole = image_file.centre(centre_crop, aspect) if self.scaled else None
        self._allowed, self.skipped = skip_broken, {}

    def __len__(self):
        return self._total

    def read(self, rows, windows=None):
        """The images, or windows, of these rows; ValueError if more are broken than may be."""
        images = np.zeros((len(rows), *self.image_shape), np.uint8)

        def decode(place):
            window = self._whole if windows is None else image_file.drawn(windows[place])
            row = int(rows[place])
            try:
                images[place] = image_file.decode(self._open(row), self.image_shape, window)
            except image_file.BrokenImage as error:
                self.skipped[row] = self._names(row), str(error.__cause__)

        # Pillow decodes outside Python's global lock, so threads use all cores.
        for _ in _threads().map(decode, range(len(rows))):
            pass
        self._check_broken()
        return images

    @contextlib.contextmanager
    def naming_all(self):
        """Inside the block broken images are only noted; its end names all that are too many."""
        allowed, self._allowed = self._allowed, math.inf
        try:
            yield
        finally:
            self._allowed = allowed
        self._check_broken()

    def _check_broken(self):
        if (broken := len(self.skipped)) > self._allowed:
            lines = sorted(": ".join(entry) for entry in self.skipped.values())
            listed = "\n".join(lines[:_LISTED])
            more = f"\n... and {broken - _LISTED} more" if broken > _LISTED else ""
            raise ValueError(
                f"{broken} of {len(self)} image files cannot be read. Replace or remove them, or "
                f"let so many be skipped (--skip_broken={broken}):\n{listed}{more}\n"
                f"Received: skip_broken={self._allowed}"
            )


@functools.cache
def _threads():
    return concurrent.futures.ThreadPoolExecutor(cores())


def keep(name, signature, find, count):
    """Returns `find()`, a JSON value, or what it was at this `signature`, if of `FROM` images."""
    place = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    path = place / "ipkd_tf" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
    signature = json.loads(json.dumps(signature))
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = files.read_json(path)
        if stored and stored["signature"] == signature:
            return stored["value"]
    value = find()
    if count(value) < FROM:
        return value
    with contextlib.suppress(OSError):  # Nothing depends on it.
        files.write_text(path, json.dumps({"signature": signature, "value": value}))
    return value
