"""Finished runs, from their directories or a CSV file, as one table in long form."""

import dataclasses
import pathlib

import pandas as pd

from ipkd_tf.output import files
from ipkd_tf.training import finished_run
from ipkd_tf.training.experiment import Experiment

SCORES = {
    "accuracy": float,
    "top_5_accuracy": float,
    "loss": float,
    "parameters": int,
    "multiply_adds": int,
}
_IDENTITY = {"model": str, "dataset": str, "method": str, "seed": int, "name": str}
_EPOCH = {"which": str, "epoch": int, "submodel": str}
_IMAGES = ("train", "validation", "test")
_CIRCUMSTANCES = {
    **{f"{part}_images": int for part in _IMAGES},
    "training_seconds": float,
    **dict.fromkeys(("date", "ipkd_tf", "git_commit", "tensorflow", "cpus", "devices"), str),
}
# Where things are and what is written beside the results.
_PLACES = {"workdir", "data_dir", "checkpoint_minutes", "tensorboard"}
_FIELDS = [f for f in dataclasses.fields(Experiment) if f.name not in _PLACES | set(_IDENTITY)]
SETTINGS = {field.name: field.type for field in _FIELDS}
_DEFAULTS = {field.name: field.default for field in _FIELDS}
COLUMNS = {**_IDENTITY, **_EPOCH, **SCORES, **_CIRCUMSTANCES, **SETTINGS}


class _Unfinished(ValueError):
    """A run that has not come to its last epoch; the message says how far it is."""


@dataclasses.dataclass(frozen=True)
class Gathered:
    """What `gather` found.

    Attributes:
        rows: `pandas.DataFrame` of `COLUMNS` and `source` (the run as messages name it), one row
            per run, choice of epoch (`which`: best or last) and sub-model. Accuracies are shares.
        left_out: Why a run that was found is not among them, by directory.
    """

    rows: pd.DataFrame
    left_out: dict


def gather(paths):
    """Reads every finished run in and below directories, and in files of `write_csv`.

    Args:
        paths: Directories of runs, directories above them, or CSV files. A run that is met twice
            with equal scores counts once.

    Returns:
        `Gathered`; runs that are unfinished or damaged are listed in it, with the reason.

    Raises:
        ValueError: A path holds no run, or a CSV file is not one of `write_csv`.

    Example:
        >>> gather(["runs"]).rows.groupby(["method", "submodel"])["accuracy"].mean()
    """
    frames, left_out, seen = [], {}, set()
    for path in map(pathlib.Path, paths):
        if path.suffix == ".csv":
            frames.append(read_csv(path))
            continue
        for directory in _run_directories(path):
            if directory.resolve() in seen:
                continue
            seen.add(directory.resolve())
            try:
                frames.append(_read_run(directory))
            except _Unfinished as error:
                left_out[str(directory)] = f"unfinished: {error}"
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                left_out[str(directory)] = f"damaged: {error!r}"
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*COLUMNS])
    return Gathered(rows.drop_duplicates(list(COLUMNS), ignore_index=True), left_out)


def _run_directories(path):
    found = {
        file.parent for name in ("result.json", "flags.txt") for file in sorted(path.rglob(name))
    }
    if not found:
        raise ValueError(
            "Expected the directory of a run, one above, or a CSV file of results. "
            f"Received: {str(path)!r}"
        )
    return sorted(found)


def _read_run(directory):
    if not (directory / "result.json").exists():
        raise _Unfinished("no epoch is done")
    result = files.read_json(directory / "result.json")
    if result.get("state", "finished") != "finished":
        done, epochs = result["last_epoch"], result["settings"]["epochs"]
        raise _Unfinished(f"{done} of {epochs} epochs are done")
    environment = files.read_json(directory / "environment.json") or {}
    rows = []
    for which in finished_run.NETWORKS:
        run = finished_run.open_run(directory, which)
        shared = _facts_of_run(run, environment)
        rows += [{**shared, **_facts_of_submodel(row)} for row in run.rows]
    return _typed(pd.DataFrame(rows)).assign(source=str(directory))


def _facts_of_run(run, environment):
    result = run.result
    examples = result["examples"]
    return {
        **dataclasses.asdict(run.experiment),
        "name": result["name"],
        "which": run.which,
        "epoch": result[f"{run.which}_epoch"],
        **{f"{part}_images": examples[part] for part in _IMAGES},
        "training_seconds": result["seconds"]["training"],
        **{key: str(environment.get(key) or "") for key in ("ipkd_tf", "git_commit", "tensorflow")},
        "cpus": str(environment.get("cpus", "")),
        "date": environment.get("start", "")[:10],
        "devices": "; ".join(environment.get("devices", [])),
    }


def _facts_of_submodel(row):
    # Counts of images divided in single precision: what is beyond 7 digits is rounding.
    return {"submodel": row["name"], **{key: round(row[key], 7) for key in SCORES}}


def _typed(frame):
    """The columns of `COLUMNS` in their order, each of its type; settings missing get defaults."""
    frame = frame.assign(**{k: v for k, v in _DEFAULTS.items() if k not in frame})
    if missing := [name for name in COLUMNS if name not in frame]:
        raise ValueError(f"Expected the columns {', '.join(missing)} as well.")
    for name, kind in COLUMNS.items():
        parse = (lambda value: str(value).lower() == "true") if kind is bool else kind
        frame[name] = [parse(value) for value in frame[name]]
    return frame[list(COLUMNS)]


def write_csv(rows, path):
    """Writes the rows of `Gathered`, sorted and without the places of this machine."""
    order = ["model", "dataset", "name", "method", "seed", "which"]
    with files.replacing(path) as aside:
        rows.sort_values(order, kind="stable").to_csv(aside, columns=list(COLUMNS), index=False)


def read_csv(path):
    """The rows that `write_csv` wrote.

    Raises:
        ValueError: The file is not one of `write_csv`.
    """
    try:
        frame = _typed(pd.read_csv(path, dtype=str, keep_default_na=False))
    except (ValueError, OSError) as error:
        raise ValueError(
            f"Expected a file of results as this package writes it. {error} Received: {str(path)!r}"
        ) from error
    return frame.assign(source=f"{path}: " + frame["name"] + " seed " + frame["seed"].astype(str))
