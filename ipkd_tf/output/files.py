"""Files and directories that appear whole or not at all, their sizes and digests; JSON."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil

ASIDE = ".partial-"


@contextlib.contextmanager
def replacing(path):
    """Yields a path beside `path` to write a file or a directory to.

    It takes the place of `path`, and of what was there, only when the block ends without error;
    then it survives a power failure, too.

    Example:
        >>> with replacing("result.json") as aside:
        ...     aside.write_text("{}")
    """
    path = pathlib.Path(path)
    # The ending stays: some writers and readers choose the format by it.
    aside = path.with_name(f"{ASIDE}{path.name}")
    replaced = path.with_name(f".replaced-{path.name}")
    remove(aside)
    _settle(path, replaced)
    try:
        yield aside
        for written in [aside, *aside.rglob("*")]:
            _synchronize(written)
        # A directory cannot be renamed over another that has content.
        if path.is_dir():
            os.replace(path, replaced)
        os.replace(aside, path)
        _synchronize(path.parent)
    finally:
        remove(aside)
        _settle(path, replaced)


def _synchronize(path):
    """Waits until a file, or the list of a directory's files, is on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # Not every file system, nor Windows, opens one.
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError:
        if path.is_file():
            raise
    finally:
        os.close(descriptor)


def _settle(path, replaced):
    """Ends a replacement: what was there before goes, or comes back if nothing took its place."""
    if path.exists():
        remove(replaced)
    elif replaced.exists():
        os.replace(replaced, path)


def remove(path):
    """Removes a file or a directory, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sizes_and_digests(path):
    """Bytes and SHA-256 of a file, or of each file of a directory, by name relative to it."""
    path = pathlib.Path(path)
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    return {
        file.relative_to(path.parent).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in files
    }


def write_text(path, text):
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path, value):
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path):
    """The value in a JSON file; None if there is no such file."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
