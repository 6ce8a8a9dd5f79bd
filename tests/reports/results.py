"""Finished runs as files, without training."""

import dataclasses
import json
import pathlib

from ipkd_tf.training.experiment import Experiment

COSTS = {"exit_1": (100, 1_000_000), "exit_2": (200, 2_000_000)}


def write_result(root, method="none", seed=0, accuracies=(0.5, 0.75), name=None, **settings):
    """Writes what the report reads of a run to root/NAME/seedSEED; returns that directory.

    Args:
        root: Directory.
        method, seed, name: Of the run; its name is its method unless given.
        accuracies: Of the sub-models at the best epoch; at the last they are 0.1 less.
        settings: Of the Experiment; and `submodels`, names, and `changes`, to result.json itself.
    """
    submodels = settings.pop("submodels", tuple(COSTS))
    changes = settings.pop("changes", {})
    settings = {"model": "toy", "dataset": "digits", "epochs": 4, **settings}
    experiment = Experiment(method=method, seed=seed, name=name or method, **settings)
    directory = pathlib.Path(root, experiment.name, f"seed{seed}")
    directory.mkdir(parents=True)
    result = {
        "state": "finished",
        "name": experiment.name,
        "best_epoch": 3,
        "last_epoch": experiment.epochs,
        "best": [_row(*pair) for pair in zip(submodels, accuracies, strict=True)],
        "last": [_row(n, a - 0.1) for n, a in zip(submodels, accuracies, strict=True)],
        "examples": {"train": 1000, "validation": 100, "test": 10_000},
        "validation": {"val_avg_accuracy": 0.625},
        "data_digest": "0123456789abcdef",
        "seconds": {"training": 12.5, "epoch": 3.0},
        "settings": dataclasses.asdict(experiment),
    }
    (directory / "result.json").write_text(json.dumps({**result, **changes}))
    start = {"start": "2026-01-31T12:00:00+00:00", "cpus": 2, "devices": ["CPU", "GPU A"]}
    (directory / "environment.json").write_text(json.dumps({**start, "git_commit": None}))
    return directory


def _row(name, accuracy):
    parameters, multiply_adds = COSTS.get(name, (300, 3_000_000))
    return {
        "name": name,
        "accuracy": accuracy,
        "top_5_accuracy": 0.9999999403953552,
        "loss": 1.25,
        "calibration_error": 0.125,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
    }
