"""Latency of exported sub-models, each in its own runtime."""

import functools
import pathlib
import statistics
import tempfile

from ipkd_tf.deployment import export, latency
from ipkd_tf.deployment.export import optional
from ipkd_tf.models import flexible


def measure(settings):
    """One image at a time through the files of the smallest and the largest sub-model.

    Networks are untrained. Formats whose packages are not installed are left out.
    """
    formats = [name for name in ("saved_model", "litert", "onnx") if optional.is_there(name)]
    with tempfile.TemporaryDirectory() as directory:
        samples = {
            key: sample
            for model in settings.models
            for key, sample in _samples(settings, model, formats, pathlib.Path(directory, model))
        }
        seconds = latency.interleaved(samples, settings.repeats)
    return [_row(key, statistics.median(numbers)) for key, numbers in seconds.items()]


def _samples(settings, model, formats, directory):
    """Pairs of what is measured and a function that gives the seconds per call."""
    workload = settings.workload(model, 1)
    network, (image, _) = workload.network(), workload.images_and_labels()
    names = flexible.names(network)
    for index in dict.fromkeys((0, len(names) - 1)):
        aside = directory / names[index]
        manifest = export.export_submodel(network, index, aside, formats)
        for format in formats:
            opened = export.open_model(aside / manifest["formats"][format]["path"], threads=1)
            call = functools.partial(opened, image, opened.signatures[0])
            sample = functools.partial(latency.seconds_per_call, call, 10 * settings.steps)
            yield (model, names[index], format), sample


def _row(key, seconds):
    names = ("model", "submodel", "format")
    return {**dict(zip(names, key, strict=True)), "ms": 1e3 * seconds, "images_per_s": 1 / seconds}
