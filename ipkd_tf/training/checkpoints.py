"""Arrays in files that are whole or not there, checked when read."""

import io
import logging
import pathlib
import zipfile

import numpy as np

from ipkd_tf.output import files

_KEPT = 2


class CheckpointFiles:
    """The newest two of a run's checkpoints, step-N.npz, in a directory made at the first write.

    NumPy's format holds plain numbers and a checksum of each array; reading it runs no code.
    """

    def __init__(self, directory):
        self._directory = pathlib.Path(directory)
        self._damaged = []

    @property
    def newest(self):
        """Path of the newest file not known to be damaged, or None."""
        good = [path for path in self._paths() if path not in self._damaged]
        return good[-1] if good else None

    def write(self, step, arrays):
        """Writes a dict of arrays as the checkpoint of a step; removes all but the newest two."""
        self._directory.mkdir(exist_ok=True)
        with files.replacing(self._directory / f"step-{step:010d}.npz") as aside:
            with open(aside, "wb") as file:
                np.savez(file, **arrays)
        for path in self._damaged:
            path.unlink(missing_ok=True)
        self._damaged = []
        for path in self._paths()[:-_KEPT]:
            path.unlink()

    def read(self):
        """The arrays of the newest whole checkpoint; None if nothing was written yet."""
        while path := self.newest:
            try:
                return _read(path)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
                logging.warning("%s is damaged (%s); going back to the one before", path, error)
                self._damaged.append(path)
        if self._damaged:
            raise ValueError(
                "every checkpoint is damaged; remove the workdir to start anew. "
                f"Received: {', '.join(map(str, self._damaged))}"
            )
        return None

    def _paths(self):
        return sorted(self._directory.glob("step-*.npz"))


def _read(path):
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"wrong checksum of {damaged}")
    content.seek(0)
    with np.load(content, allow_pickle=False) as arrays:
        return dict(arrays)
