"""How much of the arithmetic that early exit saves arrives on the clock.

python -m benchmarks.early_exit --models=msdnet --intra_op_threads=1 --inter_op_threads=1

The network is untrained; thresholds are such that the images together take a given share of the
arithmetic of the largest sub-model alone, which runs beside them in the same runtime.
"""

import functools
import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from scipy import special

from benchmarks import case
from ipkd_tf.deployment import early_exit, export, latency
from ipkd_tf.deployment.early_exit import costs, inference
from ipkd_tf.deployment.early_exit import thresholds as fitting
from ipkd_tf.models import folding, stages

COLUMNS = (
    ("network", "model", "{}"),
    ("runtime", "runtime", "{}"),
    ("batch", "batch_size", "{}"),
    ("asked for", "share", "{}"),
    ("images per s", "images_per_s", "{:,.0f}"),
    ("arithmetic %", "arithmetic", functools.partial(case.tables.percent, digits=1)),
    ("time %", "time", functools.partial(case.tables.percent, digits=1)),
    ("time saved / arithmetic saved", "ratio", "{:.2f}"),
)
BATCH_SIZES = {"tensorflow": (1, 32, 256), "litert": (1,), "onnx": (1,)}
_IMAGES = 256  # in a sample, whatever the batch
_SHARES = {"100 %": 1.0, "50 %": 0.5, "25 %": 0.25}
_ALONE = "largest alone"


def measure(settings):
    with tempfile.TemporaryDirectory() as directory:
        return [row for model in settings.models for row in _measure(settings, model, directory)]


def _measure(settings, model, directory):
    one = settings.workload(model, batch_size=_IMAGES)
    network, (images, _) = one.network(), one.images_and_labels()
    logits = np.stack(network.predict(images, batch_size=64, verbose=0))
    # Untrained sub-models say nearly the same of all images; this makes them differ.
    temperatures = logits.std(axis=(1, 2))
    paid, limits = _thresholds(network, logits / temperatures[:, None, None])
    samples, arithmetic = {}, {}
    for runtime, batch_sizes in BATCH_SIZES.items():
        path = pathlib.Path(directory, model, runtime)
        make = _classifiers if runtime == "tensorflow" else functools.partial(_files, path)
        runs = make(network, temperatures, limits, settings.threads[0] or None)
        for share, run in runs.items():
            if share in limits:
                exits = np.asarray(run(images)["exit"])
                spent = paid.leaving(limits[share])[exits].mean()
                arithmetic[runtime, share] = float(spent / paid.straight[-1])
            for batch_size in batch_sizes:
                sample = functools.partial(_seconds, run, images, batch_size)
                samples[runtime, batch_size, share] = sample
    seconds = latency.interleaved(samples, settings.repeats)
    return [
        _row(model, key, numbers, seconds[(*key[:2], _ALONE)], arithmetic.get(key[::2], 1.0))
        for key, numbers in seconds.items()
    ]


def _row(model, key, seconds, alone, arithmetic):
    time = case.median_ratio(seconds, alone)
    return {
        "model": model,
        **dict(zip(("runtime", "batch_size", "share"), key, strict=True)),
        "images_per_s": _IMAGES / np.median(seconds).item(),
        "arithmetic": arithmetic,  # both as shares of the largest sub-model's
        "time": time,
        "ratio": (1 - time) / (1 - arithmetic) if arithmetic < 0.99 else None,
    }


def _thresholds(network, logits):
    """What each exit costs, and thresholds by the share of the arithmetic that images then take."""
    paid, confidence = costs.multiply_adds(network), special.softmax(logits, axis=-1).max(axis=-1)
    answers = fitting.Answers(confidence, np.zeros_like(confidence, bool))
    possible = [fitting.single(answers, paid)[-1], *fitting.geometric(answers, paid)]
    return paid, {
        share: min(possible, key=lambda one: abs(one.cost / paid.straight[-1] - aim)).thresholds
        for share, aim in _SHARES.items()
    }


def _classifiers(network, temperatures, limits, threads):
    """Functions from images to where they leave, in this process."""
    classify = early_exit.EarlyExitClassifier(
        network, [1.0] * (len(temperatures) - 1), temperatures=temperatures
    )
    runs = {share: functools.partial(classify, thresholds=one) for share, one in limits.items()}
    return {_ALONE: _largest_alone(network), **runs}


def _files(path, network, temperatures, limits, threads):
    """The same by exported files, and by that of the largest sub-model."""
    path.mkdir(parents=True)
    format = path.name
    export.export_submodel(network, -1, path / _ALONE, [format])
    alone = export.open_model(path / _ALONE, threads)
    runs = {_ALONE: functools.partial(alone, signature=alone.largest)}
    for share, one in limits.items():
        classify = early_exit.EarlyExitClassifier(network, one, temperatures=temperatures)
        early_exit.export(classify, path / share, format)
        runs[share] = early_exit.StageRunner(path / share, threads)
    return runs


def _largest_alone(network):
    """The largest sub-model with its decision, made as fast as the classifier makes it."""
    model = folding.fold_batch_normalization(network.submodel(-1))
    stage = inference.frozen(*stages.partition(model))

    def infer(images):
        logits, _ = stage.run({stages.IMAGE: images})
        return {"class_id": tf.argmax(logits, axis=-1)}

    spec = tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32)
    infer = tf.function(infer).get_concrete_function(spec)
    return lambda images: infer(tf.cast(images, tf.float32))


def _seconds(run, images, batch_size):
    """Seconds for all images in batches, each waited for."""

    def passes():
        for start in range(0, len(images), batch_size):
            np.asarray(run(images[start : start + batch_size])["class_id"])

    return latency.seconds_per_call(passes, 1)


if __name__ == "__main__":
    case.start("early_exit", measure, COLUMNS)
