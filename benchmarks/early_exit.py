"""How much of the arithmetic that early exit saves arrives on the clock.

python -m benchmarks.early_exit --models=msdnet --intra_op_threads=1 --inter_op_threads=2

Networks are untrained; thresholds are such that given shares of the images leave at each exit.
"""

import functools

import numpy as np
import tensorflow as tf
from scipy import special

from benchmarks import case
from ipkd_tf.deployment import early_exit, latency
from ipkd_tf.deployment.early_exit import costs, inference
from ipkd_tf.deployment.early_exit.thresholds import SKIP
from ipkd_tf.models import folding, stages

COLUMNS = (
    ("network", "model", "{}"),
    ("images that leave where asked", "leaving", "{}"),
    ("batch", "batch_size", "{}"),
    ("images per s", "images_per_s", "{:,.0f}"),
    ("arithmetic %", "arithmetic", functools.partial(case.tables.percent, digits=1)),
    ("time %", "time", functools.partial(case.tables.percent, digits=1)),
    ("arithmetic / time", "ratio", "{:.2f}"),
)
BATCH_SIZES = (1, 32, 256)
_IMAGES = 256  # in a sample, whatever the batch
_LEAVING = {"none, exits skipped": None, "50 %": 0.5, "90 %": 0.9, "all": 1.0}


def measure(settings):
    return [row for model in settings.models for row in _measure(settings, model)]


def _measure(settings, model):
    one = settings.workload(model, batch_size=_IMAGES)
    network, (images, _) = one.network(), one.images_and_labels()
    logits = np.stack(network.predict(images, batch_size=64, verbose=0))
    # Untrained sub-models say nearly the same of all images; this makes them differ.
    temperatures = logits.std(axis=(1, 2))
    sure = special.softmax(logits / temperatures[:, None, None], axis=-1).max(axis=-1)[:-1]
    skip = [SKIP] * len(sure)
    classify = early_exit.EarlyExitClassifier(network, skip, temperatures=temperatures)
    runs, arithmetic = {"largest alone": _largest_alone(network)}, {"largest alone": 1.0}
    paid = costs.multiply_adds(network)
    for leaving, share in _LEAVING.items():
        limits = skip if share is None else _thresholds(sure, share)
        runs[leaving] = functools.partial(classify, thresholds=limits)
        exits = runs[leaving](images)["exit"].numpy()
        arithmetic[leaving] = paid.leaving(limits)[exits].mean() / paid.straight[-1]
    samples = {
        (leaving, batch_size): functools.partial(_seconds, run, images, batch_size)
        for batch_size in BATCH_SIZES
        for leaving, run in runs.items()
    }
    seconds = latency.interleaved(samples, settings.repeats)
    return [
        _row(model, key, numbers, seconds["largest alone", key[1]], arithmetic[key[0]])
        for key, numbers in seconds.items()
    ]


def _row(model, key, seconds, alone, arithmetic):
    time = case.median_ratio(seconds, alone)
    return {
        "model": model,
        "leaving": key[0],
        "batch_size": key[1],
        "images_per_s": _IMAGES / np.median(seconds).item(),
        "arithmetic": float(arithmetic),  # both as shares of the largest sub-model's
        "time": time,
        "ratio": float(arithmetic) / time,
    }


def _thresholds(sure, share):
    """Thresholds at which a share of the images that come to each exit leave."""
    staying, limits = np.ones(sure.shape[1], bool), []
    for row in sure:
        here = np.sort(row[staying])[::-1]
        leaving = round(share * len(here))
        limits.append(0.0 if leaving == len(here) else float(here[leaving - 1]))
        staying &= row < limits[-1]
    return limits


def _largest_alone(network):
    """The largest sub-model with its decision, made as fast as the classifier makes it."""
    model = folding.fold_batch_normalization(network.submodel(len(network.submodel_names) - 1))
    stage = inference.frozen(*stages.partition(model))

    def infer(images):
        logits, _ = stage.run({stages.IMAGE: images})
        return {"exit": tf.argmax(logits, axis=-1)}

    spec = tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32)
    infer = tf.function(infer).get_concrete_function(spec)
    return lambda images: infer(tf.cast(images, tf.float32))


def _seconds(run, images, batch_size):
    """Seconds for all images in batches, each waited for."""

    def passes():
        for start in range(0, len(images), batch_size):
            run(images[start : start + batch_size])["exit"].numpy()

    return latency.seconds_per_call(passes, 1)


if __name__ == "__main__":
    case.start("early_exit", measure, COLUMNS)
