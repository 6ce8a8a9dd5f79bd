"""A finished run opened again: its network, result and data."""

import contextlib
import dataclasses
import functools
import json
import pathlib

import keras

from ipkd_tf import models
from ipkd_tf.models import precision as policies
from ipkd_tf.output import files
from ipkd_tf.output.checks import check, check_choice, explained
from ipkd_tf.training import evaluation, splits, summary
from ipkd_tf.training.experiment import Experiment

EPOCHS = ("best", "last")


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What the directory of a run holds; its arguments are those of `open_run`."""

    directory: pathlib.Path
    experiment: Experiment
    result: dict
    epoch: str
    model: str | None = None

    @property
    def title(self):
        return summary.title(self.result)

    @property
    def rows(self):
        """One dict per sub-model, smallest first: its test scores and its cost."""
        return self.result[self.epoch]

    @property
    def names(self):
        return [row["name"] for row in self.rows]

    @functools.cached_property
    def network(self):
        """The trained flexible network, computing in float32 whatever it was trained in."""
        return self.load("float32")

    def load(self, precision):
        """Loads the network to compute in a precision, such as `experiment.precision`."""
        with arithmetic(precision):
            return models.load(self.directory / f"{self.epoch}.keras", family=self.model)

    @functools.cached_property
    def splits(self):
        """The data, split as they were for training; ValueError if they are no longer the same."""
        read = splits.read_splits(self.experiment)
        there = {**self.result["examples"], "digest": self.result["data_digest"]}
        splits.check_same_data(there, read.identity(), self.directory)
        return read

    def recalibrate(self, name):
        """Estimates the statistics of a sub-model beyond the named ones, if it needs its own."""
        if name in self.names or not getattr(self.network, "needs_recalibration", False):
            return
        self.network.resolve(name)  # An unknown one is refused before data is read.
        self.network.recalibrate(name, evaluation.batches_to_recalibrate(self.splits.train))


@contextlib.contextmanager
def arithmetic(precision):
    """Inside the block new layers compute in a precision; what was set before comes back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policies.policy(precision))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def open_run(directory, epoch="best", data_dir=None, model=None):
    """Opens the directory of a finished run: its experiment, result, rows, network and splits.

    Args:
        directory: Such as `runs/quickstart/seed0`.
        epoch: "best" or "last", the one that counts.
        data_dir: Where the data set is now; None for where the run read it.
        model: `package.module:Class` of a family of your own, which is imported; not needed for
            ours, nor where its module is imported already. Never read from the run's files: they
            may be a stranger's.

    Raises:
        ValueError: The directory holds no finished run, or its result.json is damaged.

    Example:
        >>> run = open_run("runs/quickstart/seed0")
        >>> small = run.network.submodel("exit_1")
    """
    directory, run = pathlib.Path(directory), str(directory)
    check_choice(EPOCHS, epoch=epoch)
    damage = (json.JSONDecodeError, KeyError, TypeError, AttributeError)
    with explained(damage, "another run: its result.json is damaged", run=run):
        result = files.read_json(directory / "result.json")
        is_run = result is not None
        check(is_run, "the directory of a finished run, such as runs/quickstart/seed0", run=run)
        expected = f"a finished run; this one is {result['state']}, its command goes on with it"
        check(result["state"] == "finished", expected, run=run)
        known = {field.name for field in dataclasses.fields(Experiment)}
        settings = {name: value for name, value in result["settings"].items() if name in known}
        _ = result[epoch], result["examples"], result["data_digest"]
    if data_dir:
        settings["data_dir"] = data_dir
    return FinishedRun(directory, Experiment(**settings), result, epoch, model or None)
