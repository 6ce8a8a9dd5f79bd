"""Files and directories that appear whole or not at all, their sizes and digests; JSON."""

import contextlib
import ctypes
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

_ASIDE, _REPLACED = ".partial-", ".replaced-"


@contextlib.contextmanager
def replacing(path):
    """Yields a path of the same name to write a file or a directory to; makes those above it.

    It takes the place of `path`, and of what was there, only when the block ends without error;
    then it survives a power failure, too. A link stays a link, a file keeps its mode; of several
    processes the last one wins.
    """
    name, path = pathlib.Path(path).name, pathlib.Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=path.parent) as directory:
        aside = pathlib.Path(directory, name)
        try:
            yield aside
        except OSError as error:  # Python does not name the file when the disk is full.
            error.filename = error.filename or str(path)
            raise
        for written in [aside, *aside.rglob("*")]:
            _synchronize(written)
        if path.is_file():
            shutil.copymode(path, aside)
        # A directory cannot be renamed over another that has content.
        if path.is_dir():
            _exchange(aside, path)
        else:
            os.replace(aside, path)
        _synchronize(path.parent)


def _exchange(new, old):
    """Each takes the place of the other: in one step on Linux, elsewhere in two."""
    if os.name == "posix" and hasattr(libc := ctypes.CDLL(None), "renameat2"):
        at, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        if libc.renameat2(at, os.fsencode(new), at, os.fsencode(old), flag) == 0:
            return
    spare = old.with_name(_REPLACED + old.name)
    os.replace(old, spare)
    os.replace(new, old)
    os.replace(spare, new)


def remove_leftovers(directory, names=None):
    """Removes what processes left that were killed while they wrote such files (patterns)."""
    directory = pathlib.Path(directory)
    for path in directory.glob(f"{_ASIDE}*"):
        if names is None or any(next(path.glob(name), None) for name in names):
            remove(path)
    for path in [p for name in names or ["*"] for p in directory.glob(f"{_REPLACED}{name}")]:
        name = path.name.removeprefix(_REPLACED)
        if path.with_name(name).exists():
            remove(path)
        else:
            os.replace(path, path.with_name(name))


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


@contextlib.contextmanager
def locked(path, wait=True):
    """Inside the block a directory, or file, is this caller's; others wait or get BlockingIOError.

    Where there are no locks (Windows, of directories some network file systems) neither happens.
    """
    descriptor = None
    try:
        try:
            import fcntl

            mode = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT
            descriptor = os.open(path, mode)
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except (ImportError, OSError):
            pass
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


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


def rounded(value, digits=6):
    """A JSON value with every float rounded to so many significant digits."""
    if isinstance(value, dict):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one, digits) for one in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


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
