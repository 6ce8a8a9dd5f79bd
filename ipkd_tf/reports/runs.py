"""Finished runs, from their directories or a CSV file, as one table in long form."""

import dataclasses
import pathlib
import re

import pandas as pd

from ipkd_tf.models import cost
from ipkd_tf.output import files
from ipkd_tf.output.checks import check, explained
from ipkd_tf.training import finished_run, settings
from ipkd_tf.training.experiment import Experiment

SCORES = dict.fromkeys(("accuracy", "top_5_accuracy", "loss", "calibration_error"), float)
SCORES |= {one.name: int for one in cost.COSTS}
NETWORK_AND_DATA = ["model", "dataset"]
_IDENTITY = {"model": str, "dataset": str, "method": str, "seed": int, "name": str, "alone": bool}
_EPOCH = {"which": str, "epoch": int, "submodel": str}
_IMAGES = ("train", "validation", "test")
_VERSIONS = ("ipkd_tf", "git_commit", "tensorflow", "cpus")
_CIRCUMSTANCES = {
    **{f"{part}_images": int for part in _IMAGES},
    "training_seconds": float,
    "validation_accuracy": float,
    "network_parameters": int,
    **dict.fromkeys(("date", *_VERSIONS, "devices"), str),
}
_FIELDS = [
    f
    for f in dataclasses.fields(Experiment)
    if f.metadata["identity"] and f.name not in (*_IDENTITY, "submodel")
]
SETTINGS = {field.name: field.type for field in _FIELDS}
OF_METHOD = [field.name for field in settings.sections(Experiment)["method"]]
_PART_OF_METHOD = ("teacher", "teacher_dropout")  # Never a reason to refuse a comparison.
_UNKNOWN = float("nan")
_NOT_YET_KNOWN = {"alone": False, "network_parameters": 0}  # to files of earlier versions
_NOT_YET_KNOWN |= dict.fromkeys(("calibration_error", "validation_accuracy"), _UNKNOWN)
COLUMNS = {**_IDENTITY, **_EPOCH, **SCORES, **_CIRCUMSTANCES, **SETTINGS}


class _Unfinished(ValueError):
    """A run that has not come to its last epoch; the message says how far it is."""


def gather(paths):
    """Reads every finished run in and below directories, and in files of `write_csv`.

    Args:
        paths: Directories of runs, directories above them, or CSV files. A run that is met twice
            with equal scores counts once.

    Returns:
        (rows, left_out). `pandas.DataFrame` of `COLUMNS` and `source` (the run as messages name
        it), a row per run, choice of epoch (`which`: best or last) and sub-model, accuracies as
        shares; and why a run that was found is not among them, by directory.

    Raises:
        ValueError: A path holds no run, or a CSV file is not one of `write_csv`.

    Example:
        >>> rows, _ = gather(["runs"])
        >>> rows.groupby(["method", "submodel"])["accuracy"].mean()
    """
    paths = [pathlib.Path(path) for path in paths]
    directories = [d for path in paths if path.suffix != ".csv" for d in _run_directories(path)]
    frames, left_out = [], {}
    for directory in {directory.resolve(): directory for directory in directories}.values():
        try:
            frames.append(_read_run(directory))
        except _Unfinished as error:
            left_out[str(directory)] = f"unfinished: {error}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            left_out[str(directory)] = f"damaged: {error!r}"
    frames += [read_csv(path) for path in paths if path.suffix == ".csv"]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*COLUMNS])
    return rows.drop_duplicates(list(COLUMNS), ignore_index=True), left_out


def _run_directories(path):
    found = {file.parent for name in ("result.json", "flags.txt") for file in path.rglob(name)}
    check(found, "the directory of a run, one above, or a CSV file of results", path=str(path))
    return sorted(found)


def _read_run(directory):
    if not (directory / "result.json").exists():
        raise _Unfinished("no epoch is done")
    result = files.read_json(directory / "result.json")
    if result["state"] != "finished":
        done, epochs = result["last_epoch"], result["settings"]["epochs"]
        raise _Unfinished(f"{done} of {epochs} epochs are done")
    environment = files.read_json(directory / "environment.json") or {}
    rows = [
        # Counts of images divided in single precision: what is beyond 7 digits is rounding.
        facts
        | {"submodel": row["name"]}
        | {key: round(row[key], 7) for key in SCORES if key in row or key not in _NOT_YET_KNOWN}
        for run in (finished_run.open_run(directory, epoch) for epoch in finished_run.EPOCHS)
        for facts in [_facts(run, environment)]
        for row in run.rows
    ]
    return _parse(pd.DataFrame(rows)).assign(source=str(directory))


def _facts(run, environment):
    """What all sub-models of a run have in common."""
    result = run.result
    return {
        **dataclasses.asdict(run.experiment),
        "name": result["name"],
        "which": run.epoch,
        "epoch": result[f"{run.epoch}_epoch"],
        **{f"{part}_images": result["examples"][part] for part in _IMAGES},
        "training_seconds": result["seconds"]["training"],
        "validation_accuracy": result.get("validation", {}).get("val_avg_accuracy", _UNKNOWN),
        "network_parameters": result.get("parameters", 0),
        "alone": bool(run.experiment.submodel),
        **{key: str(environment.get(key) or "") for key in _VERSIONS},
        "date": environment.get("start", "")[:10],
        "devices": "; ".join(environment.get("devices", [])),
    }


def _parse(frame):
    """The columns of `COLUMNS` in their order, each of its type; settings missing get defaults."""
    defaults = {**_NOT_YET_KNOWN, **{field.name: field.default for field in _FIELDS}}
    frame = frame.assign(**{k: value for k, value in defaults.items() if k not in frame})
    missing = [name for name in COLUMNS if name not in frame]
    check(not missing, f"the columns {', '.join(missing)} as well", columns=[*frame])
    for name, kind in COLUMNS.items():
        parse = (lambda value: str(value).lower() == "true") if kind is bool else kind
        frame[name] = [parse(value) for value in frame[name]]
    return frame[list(COLUMNS)]


def write_csv(rows, path):
    """Writes the rows of `gather`, sorted and without the places of this machine."""
    order = [*NETWORK_AND_DATA, "name", "method", "seed", "which"]
    with files.replacing(path) as aside:
        rows.sort_values(order, kind="stable").to_csv(
            aside, columns=list(COLUMNS), index=False, na_rep="nan"
        )


def read_csv(path):
    """The rows that `write_csv` wrote; ValueError if the file is not one of it."""
    expected = "a file of results as this package writes it"
    with explained((ValueError, OSError), expected, path=str(path)):
        frame = _parse(pd.read_csv(path, dtype=str, keep_default_na=False))
    return frame.assign(source=f"{path}: " + frame["name"] + " seed " + frame["seed"].astype(str))


def by_experiment(rows, experiments):
    """For each experiment the rows of `gather` of the first run with its settings, perhaps none.

    Example:
        >>> [found] = by_experiment(read_csv("runs/results.csv"), [Experiment(seed=1)])
    """
    names = [name for name in (*_IDENTITY, *SETTINGS) if name not in ("name", "alone")]

    def key(values, submodel):
        return (submodel, *(values[name] for name in names))

    runs = {}
    for index, row in rows.iterrows():
        sources = runs.setdefault(key(row, row["submodel"] if row["alone"] else ""), {})
        sources.setdefault(row["source"], []).append(index)
    found = [runs.get(key(vars(one), one.submodel), {"": []}) for one in experiments]
    return [rows.loc[next(iter(sources.values()))] for sources in found]


def label_variants(rows, mix=False, split=False):
    """Adds the columns `variant` and `setting`: "", or the settings in which runs differ.

    A sub-model trained alone has the method `alone`; outside teachers stand behind a method's name,
    as in `kd by takd_cifar10_plain_cnn_10`.

    Args:
        rows: Rows of `gather`, of one choice of epoch.
        mix: Whether settings other than method and seed may differ within a network and data set;
            then they make variants.
        split: The same, but they make settings, each with a comparison of its own. Only what is
            part of teaching, such as lambda, makes variants, and runs without teachers have none.

    Raises:
        ValueError: Settings differ and neither `mix` nor `split` is true, or two runs are of the
            same network, data set, settings and seed.

    Example:
        >>> set(label_variants(rows, mix=True)["variant"])
        {'temperature=1.0', 'temperature=5.0'}
    """
    groups = rows.groupby(NETWORK_AND_DATA, sort=False)
    labelled = pd.concat([_label_group(group, mix, split) for _, group in groups])
    one_run = [*NETWORK_AND_DATA, "setting", "method", "variant", "seed", "submodel"]
    for _, same in labelled.groupby(one_run, sort=False):
        sources, expected = same["source"].unique().tolist(), "one run of a network, data set, "
        expected += "method and seed with the same settings; leave others out"
        check(len(sources) == 1, expected, runs=sources)
    return labelled


def _label_method(row):
    if not row["teacher"]:
        return "alone" if row["alone"] else row["method"]
    teachers = re.sub(r"(^|,)runs/|/seed\{seed\}", r"\1", row["teacher"])
    dropped = f", {row['teacher_dropout']} dropped" if row["teacher_dropout"] else ""
    return f"{row['method']} by {teachers}{dropped}" + ", alone" * row["alone"]


def _label_group(group, mix, split):
    group = group.assign(method=[_label_method(row) for _, row in group.iterrows()])
    varying = [
        name for name in SETTINGS if name not in _PART_OF_METHOD and group[name].nunique() > 1
    ]
    if varying and not (mix or split):
        name, also = varying[0], varying[1:]
        first = group.iloc[0]
        other = group[group[name] != first[name]].iloc[0]
        raise ValueError(
            f"Expected runs of {first['model']} on {first['dataset']} that differ in method and "
            f"seed{' (' + ', '.join(also) + ' differ too)' if also else ''}; name fewer runs, or "
            "give --mix to show them in columns, or --split in tables of their own. "
            f"Received: {name}={first[name]} in {first['source']}, {name}={other[name]} in "
            f"{other['source']}"
        )
    of_setting = [name for name in varying if split and name not in OF_METHOD]
    variant = _describe(group, [name for name in varying if name not in of_setting])
    if split:
        variant = variant.where(group["method"] != "none", "")
    return group.assign(variant=variant, setting=_describe(group, of_setting))


def _describe(group, names):
    """These settings of each row as one text."""
    texts = [f"{name}=" + group[name].astype(str) for name in names]
    return texts[0].str.cat(texts[1:], sep=", ") if texts else pd.Series("", group.index)
