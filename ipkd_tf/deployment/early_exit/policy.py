"""Thresholds that were chosen for a budget, written as files and checked on images."""

import dataclasses
import functools
import pathlib

import numpy as np

from ipkd_tf.deployment import latency
from ipkd_tf.deployment.early_exit import classifier, runner, stage_files
from ipkd_tf.deployment.export import optional
from ipkd_tf.models import flexible
from ipkd_tf.output import files

FORMATS = ("saved_model", *stage_files.FORMATS)
# Runtimes round differently: an image may be on the other side of a threshold.
_LEAST_AGREEMENT = 0.995
_BATCH = 250


@dataclasses.dataclass(frozen=True)
class Policy:
    """How a network decides where an image leaves.

    Attributes:
        thresholds: float `[n - 1]`; see `AdaptiveClassifier`.
        confidence: `probability`, `margin` or `entropy`.
        temperatures: float `[n]`.
    """

    thresholds: tuple
    confidence: str
    temperatures: tuple

    def classifier(self, network):
        """The network as an `AdaptiveClassifier`."""
        return classifier.AdaptiveClassifier(network, **dataclasses.asdict(self))


def export(network, policy, directory, formats, images, exits, facts=None):
    """Writes early exit of a network to files, and compares their decisions with simulated ones.

    Args:
        network: A flexible network.
        policy: `Policy`.
        directory: Gets a directory `saved_model`, `litert` or `onnx` for each format.
        formats: From `FORMATS`.
        images: uint8 `[images, height, width, 3]` to compare on.
        exits: Integers `[images]`: where each image leaves in the simulation.
        facts: JSON values for the manifest beside the files.

    Returns:
        Dict from format to the share of the images that leave where they should.

    Raises:
        ValueError: A file does not decide as it should, or cannot be written.

    Example:
        >>> export(network, policy, "adapt", ["saved_model", "onnx"], images, exits)
    """
    check_formats(formats)
    agreement = {}
    for format in formats:
        path = pathlib.Path(directory, format)
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as aside:
            run = _write(network, policy, aside, format, facts)
            agreement[format] = _agreement(run, images, exits, format)
    return agreement


def _agreement(run, images, exits, format):
    found = [run(images[k : k + _BATCH])["exit"] for k in range(0, len(images), _BATCH)]
    share = float(np.mean(np.concatenate(found) == exits))
    if not share >= _LEAST_AGREEMENT:
        raise ValueError(
            f"Only {share:.2%} of the images leave where they should (needed: "
            f"{_LEAST_AGREEMENT:.2%}); nothing was written. Received: format={format!r}"
        )
    return share


def check_formats(formats):
    """Raises ValueError unless all formats exist and can be written here."""
    for format in formats:
        if format not in FORMATS:
            raise ValueError(f"Expected some of {', '.join(FORMATS)}. Received: format={format!r}")
        if format in stage_files.FORMATS:
            optional.require(format)


def _write(network, policy, path, format, facts):
    """Writes one format, and returns a function that runs what was written."""
    if format != "saved_model":
        names = flexible.names(network)
        stage_files.write_stages(network, names, dataclasses.asdict(policy), path, format, facts)
        return runner.StageRunner(path)
    made = policy.classifier(network)
    made.export(path)
    manifest = {"submodels": list(made.names), **dataclasses.asdict(policy), **(facts or {})}
    files.write_json(path / "manifest.json", manifest)
    return classifier.open_saved_model(path)


def mean_milliseconds(classify, images):
    """Mean and 95th percentile latency of images classified one at a time, after 20 untimed."""
    seconds = [
        latency.seconds_per_call(functools.partial(classify, image), 1, _wait)
        for image in images[:, None]
    ]
    timed = 1e3 * np.array(seconds[20:] or seconds)
    return float(timed.mean()), float(np.percentile(timed, 95))


def _wait(result):
    np.asarray(result["exit"])
