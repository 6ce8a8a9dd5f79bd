"""Copies the run files of the package to where runs are started.

  python -m ipkd_tf init          # into runs/ of the current directory
  python -m ipkd_tf init DIR      # into DIR/runs/; start runs in DIR

Flag files name each other by paths such as runs/base/msdnet.flags. Files that are there stay.
"""

import pathlib
import shutil

import ipkd_tf
from ipkd_tf.output.checks import check
from ipkd_tf.tools import command


def define_flags(values=None):
    """There are none."""


def find_run_files():
    """The directory of the run files: in the package, or beside it in a checkout."""
    package = pathlib.Path(ipkd_tf.__file__).parent
    inside = package / "runs"
    return inside if inside.is_dir() else package.parent / "runs"


def main(arguments):
    """Copies what is not there yet."""
    check(len(arguments) < 2, "one directory, or none", arguments=" ".join(arguments))
    source, target = find_run_files(), pathlib.Path(*arguments) / "runs"
    paths = sorted([*source.glob("*.flags"), *source.glob("base/*.flags")])
    (target / "base").mkdir(parents=True, exist_ok=True)
    written = 0
    for path in paths:
        copy = target / path.relative_to(source)
        if not copy.exists():
            shutil.copyfile(path, copy)
            written += 1
    print(f"{target}: {written} run files written, {len(paths) - written} were there and stay.")


if __name__ == "__main__":
    command.start(define_flags, main)
