"""A finished run opened again: its network, result and data."""

import dataclasses
import functools
import json
import pathlib

from ipkd_tf import models
from ipkd_tf.output import files
from ipkd_tf.training import assembly
from ipkd_tf.training.experiment import Experiment

NETWORKS = ("best", "last")


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What the directory of a run holds.

    Attributes:
        directory: `pathlib.Path`.
        experiment: Its settings.
        result: What result.json holds.
        which: The epoch that counts: "best" or "last".
    """

    directory: pathlib.Path
    experiment: Experiment
    result: dict
    which: str

    @property
    def rows(self):
        """One dict per sub-model, smallest first: its test scores and its cost."""
        return self.result[self.which]

    @property
    def names(self):
        return [row["name"] for row in self.rows]

    @functools.cached_property
    def network(self):
        """The trained flexible network."""
        if self.experiment.model not in models.PRESETS:
            models.imported(self.experiment.model)
        return models.load(self.directory / f"{self.which}.keras")

    @functools.cached_property
    def splits(self):
        """The data, split as it was for training."""
        return assembly.read_splits(self.experiment)

    def index(self, name):
        """Number of the sub-model of this name.

        Raises:
            ValueError: There is none.
        """
        if name not in self.names:
            raise ValueError(
                f"Expected a sub-model from {', '.join(self.names)}. Received: submodel={name!r}"
            )
        return self.names.index(name)


def open_run(directory, which="best", data_dir=None):
    """Opens the directory of a finished run.

    Args:
        directory: Such as `runs/quickstart/seed0`.
        which: "best" or "last", the epoch that counts.
        data_dir: Where the data set is now; None for where the run read it.

    Raises:
        ValueError: The directory holds no finished run, or its result.json is damaged.

    Example:
        >>> run = open_run("runs/quickstart/seed0")
        >>> small = run.network.submodel(run.index("exit_1"))
    """
    directory = pathlib.Path(directory)
    if which not in NETWORKS:
        raise ValueError(f"Expected one of {', '.join(NETWORKS)}. Received: which={which!r}")
    try:
        result = files.read_json(directory / "result.json")
        if result is None:
            raise ValueError(
                "Expected the directory of a finished run, with its result.json, such as "
                f"runs/quickstart/seed0. Received: run={str(directory)!r}"
            )
        if result.get("state", "finished") != "finished":
            raise ValueError(
                f"Expected a finished run; this one is {result['state']}, the command that started "
                f"it goes on with it. Received: run={str(directory)!r}"
            )
        settings, _ = result["settings"], result[which]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The run's result.json is damaged ({error!r}). Received: run={str(directory)!r}"
        ) from error
    known = {field.name for field in dataclasses.fields(Experiment)}
    settings = {name: value for name, value in settings.items() if name in known}
    if data_dir:
        settings["data_dir"] = data_dir
    return FinishedRun(directory, Experiment(**settings), result, which)
