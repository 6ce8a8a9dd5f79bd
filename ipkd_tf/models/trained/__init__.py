"""Trained networks that come with the package: each a directory as a finished run leaves it."""

import pathlib

from ipkd_tf.output import files
from ipkd_tf.output.checks import check, check_choice

DIRECTORY = pathlib.Path(__file__).parent
PREFIX = "preset:"


def names():
    """Names of the trained networks, in order."""
    return sorted(path.parent.name for path in DIRECTORY.glob("*/best.keras"))


def find(name):
    """Returns the directory of a trained network; ValueError if there is none, or it is damaged."""
    check_choice(names(), preset=name)
    directory = DIRECTORY / name
    facts = files.read_json(directory / "result.json")["file"]
    found = files.sizes_and_digests(directory / "best.keras")["best.keras"]
    expected = f"a file of {facts}; this one is damaged, install ipkd_tf again"
    check(found == facts, expected, preset=name, found=found)
    return directory


def locate(source):
    """The directory that `preset:NAME` stands for, or the path that a source is."""
    source = str(source)
    if source.startswith(PREFIX):
        return find(source.removeprefix(PREFIX))
    return pathlib.Path(source)
