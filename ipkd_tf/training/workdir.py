"""The directory of one run: locked, never shared with another run."""

import contextlib
import csv
import dataclasses
import errno
import os
import pathlib
import shutil

from ipkd_tf.output.files import remove_leftovers, replacing, write_text
from ipkd_tf.training import settings

OUTPUTS = ("history.csv", "result.json", "best.keras", "last.keras", "checkpoints")
_WRITTEN = (*OUTPUTS, "flags.txt", "environment.json", "training_curve.*", "accuracy_*")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def locked(path):
    """Inside the block the directory, created if need be, belongs to this process alone.

    The operating system takes the lock back when a process ends in whatever way.
    """
    path = pathlib.Path(path)
    with contextlib.ExitStack() as stack:
        with _explained(path):
            path.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path / ".lock", "a"))
        if not _lock(file):
            raise ValueError(
                "another run is writing to the workdir; wait for its end or choose another "
                f"--workdir. Received: workdir={str(path)!r}"
            )
        yield path


def _lock(file):
    """Whether the file is now locked, or cannot be (Windows, some network file systems)."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


@contextlib.contextmanager
def _explained(path):
    try:
        yield
    except OSError as error:
        raise OSError(
            f"the outputs cannot be written ({error.strerror}); choose another --workdir. "
            f"Received: workdir={str(path)!r}"
        ) from error


def write_history(path, rows):
    """One line for each epoch; floats keep every digit."""
    with replacing(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@contextlib.contextmanager
def explain_full_disk(path):
    """Says which device is full, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        path = place = pathlib.Path(path).resolve()
        while not os.path.ismount(place):
            place = place.parent
        raise OSError(
            f"{error.strerror}: {error.filename or path}, on the device mounted at {place}, "
            f"{shutil.disk_usage(place).free:,} bytes free; make room, and the same command goes "
            "on from the last checkpoint"
        ) from error


def prepare(experiment):
    """Creates or re-opens the directory of a run and writes its flags.txt; returns the path.

    Refuses one that holds a run with other settings, or more epochs than asked for.
    """
    path = pathlib.Path(experiment.output_dir)
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
        _refuse_another_run(path, experiment)
        remove_leftovers(path, _WRITTEN)
        remove_leftovers(path / "checkpoints")
        texts = settings.as_text(dataclasses.replace(experiment, name=experiment.run_name))
        lines = [f"--{name}={text}\n" for name, text in texts.items()]
        write_text(path / "flags.txt", "".join(lines))
    return path


def _refuse_another_run(path, experiment):
    found = [name for name in OUTPUTS if (path / name).exists()]
    if not found:
        return
    if not (path / "flags.txt").exists():
        raise ValueError(
            f"the workdir holds {', '.join(found)} but no flags.txt to tell whose they are; "
            f"choose another --workdir. Received: workdir={str(path)!r}"
        )
    if differences := _differences(_read_flags(path / "flags.txt"), experiment):
        raise ValueError(
            f"the workdir holds a run with other settings ({'; '.join(differences)}); choose "
            f"another --workdir or --name, or remove it. Received: workdir={str(path)!r}"
        )


def _read_flags(path):
    lines = path.read_text(encoding="utf-8").split("\n")
    return dict(line.removeprefix("--").partition("=")[::2] for line in lines)


def _differences(stored, experiment):
    # A setting that the stored run did not know yet had today's default in effect.
    stored = {**settings.as_text(type(experiment)()), **stored}
    asked = settings.as_text(experiment)
    names = settings.identity(experiment).keys() - {"epochs"}
    different = [name for name in asked if name in names and asked[name] != stored[name]]
    if int(asked["epochs"]) < int(stored["epochs"]):
        different.append("epochs")
    return [f"--{name}={stored[name]} there, {asked[name]} asked for" for name in different]
