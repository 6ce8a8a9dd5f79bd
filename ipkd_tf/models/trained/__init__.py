"""Trained networks that come with the package: each a directory as a finished run leaves it."""

import pathlib

from ipkd_tf.output import files

DIRECTORY = pathlib.Path(__file__).parent
PREFIX = "preset:"


def names():
    """Names of the trained networks, in order."""
    return sorted(path.parent.name for path in DIRECTORY.glob("*/best.keras"))


def find(name):
    """Returns the directory of a trained network, its file compared with the digest on its card.

    Raises:
        ValueError: There is none of this name, or its file is damaged.

    Example:
        >>> print((find("msdnet_small_digits") / "README.md").read_text())
    """
    if name not in names():
        raise ValueError(
            f"Expected a trained network from {', '.join(names())}. Received: preset={name!r}"
        )
    directory = DIRECTORY / name
    expected = files.read_json(directory / "result.json")["file"]
    found = files.sizes_and_digests(directory / "best.keras")["best.keras"]
    if found != expected:
        raise ValueError(
            f"The file of the trained network is damaged: {found} instead of {expected}; install "
            f"ipkd_tf again. Received: preset={name!r}"
        )
    return directory


def locate(source):
    """The directory that `preset:NAME` stands for, or the path that a source is."""
    source = str(source)
    if source.startswith(PREFIX):
        return find(source.removeprefix(PREFIX))
    return pathlib.Path(source)
