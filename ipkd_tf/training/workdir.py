"""The directory of one run: locked, never shared with another run."""

import contextlib
import csv
import dataclasses
import errno
import os
import pathlib
import shutil

from ipkd_tf.output import files
from ipkd_tf.training import settings

OUTPUTS = ("history.csv", "result.json", "best.keras", "last.keras", "checkpoints")
_WRITTEN = (*OUTPUTS, "flags.txt", "environment.json", "training_curve.*", "accuracy_*")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def locked(path):
    """Inside the block the directory, created if need be, belongs to this process alone."""
    path = pathlib.Path(path)
    with contextlib.ExitStack() as stack:
        with _explained(path):
            path.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(files.locked(path / ".lock", wait=False))
        except BlockingIOError as error:
            raise ValueError(
                "another run is writing to the workdir; wait for its end or choose another "
                f"--workdir. Received: workdir={str(path)!r}"
            ) from error
        yield path


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
    with files.replacing(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
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
    """Writes flags.txt of a run; refuses a directory that holds another one, or more epochs."""
    path = pathlib.Path(experiment.output_dir)
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
        _refuse_another_run(path, experiment)
        files.remove_leftovers(path, _WRITTEN)
        files.remove_leftovers(path / "checkpoints")
        texts = settings.as_text(dataclasses.replace(experiment, name=experiment.run_name))
        lines = [f"--{name}={text}\n" for name, text in texts.items()]
        files.write_text(path / "flags.txt", "".join(lines))
    return path


def _refuse_another_run(path, experiment):
    found = [name for name in OUTPUTS if (path / name).exists()]
    if not found:
        return
    flags = path / "flags.txt"
    if not flags.exists():
        raise ValueError(
            f"the workdir holds {', '.join(found)} but no flags.txt to tell whose they are; "
            f"choose another --workdir. Received: workdir={str(path)!r}"
        )
    lines = flags.read_text(encoding="utf-8").split("\n")
    stored = dict(line.removeprefix("--").partition("=")[::2] for line in lines)
    if different := _differences(stored, experiment):
        raise ValueError(
            f"the workdir holds a run with other settings ({'; '.join(different)}); choose "
            f"another --workdir or --name, or remove it. Received: workdir={str(path)!r}"
        )


def _differences(stored, experiment):
    # A setting that the stored run did not know yet had today's default in effect.
    stored = {**settings.as_text(type(experiment)()), **stored}
    asked = settings.as_text(experiment)
    names = settings.identity(experiment).keys() - {"epochs"}
    different = [name for name in asked if name in names and asked[name] != stored[name]]
    if int(asked["epochs"]) < int(stored["epochs"]):
        different.append("epochs")
    return [f"--{name}={stored[name]} there, {asked[name]} asked for" for name in different]
