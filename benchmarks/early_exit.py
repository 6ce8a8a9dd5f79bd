"""How much of the arithmetic that early exit saves arrives on the clock."""

import functools
import statistics

import numpy as np
import tensorflow as tf

from ipkd_tf.deployment import latency
from ipkd_tf.deployment.early_exit import confidence, costs, inference, simulation
from ipkd_tf.deployment.early_exit.classifier import AdaptiveClassifier
from ipkd_tf.models import cost, flexible, folding, stages

BATCH_SIZES = (1, 32, 256)
_IMAGES = 256  # in a sample, whatever the batch
# Share of the images at an exit that leave there; `skip`: all early heads are left out, so that the
# arithmetic is that of the largest sub-model, and what differs is what deciding costs.
_LEAVING = {"skip": None, "0 %": 0.0, "50 %": 0.5, "90 %": 0.9, "100 %": 1.0}
_FULL = "full"


def measure(settings):
    """The largest sub-model of each network alone, and early exit at several thresholds.

    Networks are untrained; thresholds are such that given shares of the images leave.
    """
    return [row for model in settings.models for row in _measure(settings, model)]


def _measure(settings, model):
    workload = settings.workload(model, _IMAGES)
    network, (images, _) = workload.network(), workload.images_and_labels()
    temperatures, choices = _choices(network, images)
    classifier = AdaptiveClassifier(network, choices["skip"], temperatures=temperatures)
    full = _full(network)
    paid, alone = costs.multiply_adds(network), cost.multiply_adds(flexible.cut(network, -1))
    samples, shares = {}, {}
    for batch_size in BATCH_SIZES:
        samples[batch_size, _FULL] = functools.partial(_seconds, full, images, batch_size)
        shares[batch_size, _FULL] = 1.0
        for leaving, thresholds in choices.items():
            run = functools.partial(_run, classifier, tf.constant(thresholds, tf.float32))
            samples[batch_size, leaving] = functools.partial(_seconds, run, images, batch_size)
            exits = np.concatenate([r["exit"] for r in _passes(run, images, batch_size)])
            shares[batch_size, leaving] = paid.leaving(thresholds)[exits].mean() / alone
    seconds = latency.interleaved(samples, settings.repeats)
    return [_row(model, key, shares[key], seconds) for key in samples]


def _choices(network, images):
    """Temperatures, and thresholds `[n - 1]` for each share of leaving images."""
    logits = np.stack(network.predict(images, batch_size=64, verbose=0))
    # Untrained sub-models say nearly the same of all images; this makes them differ.
    temperatures = logits.std(axis=(1, 2))
    scaled = logits / temperatures[:, None, None]
    sure = np.asarray(confidence.largest_probability(tf.nn.softmax(scaled)))[:-1]
    return temperatures, {
        leaving: [simulation.SKIP] * len(sure) if share is None else _thresholds(sure, share)
        for leaving, share in _LEAVING.items()
    }


def _thresholds(sure, share):
    """Thresholds at which a share of the images that come to each exit leave."""
    staying, found = np.ones(sure.shape[1], bool), []
    for row in sure:
        here = np.sort(row[staying])[::-1]
        leaving = round(share * len(here))
        found.append(1.0 if leaving == 0 else 0.0 if leaving == len(here) else here[leaving - 1])
        staying &= row < found[-1]
    return [float(threshold) for threshold in found]


def _full(network):
    """The largest sub-model alone with its decision, made as fast as the classifier makes it."""
    model = folding.fold_batch_normalization(flexible.cut(network, -1))
    stage = inference.frozen(*stages.partition(model))
    specs = tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32)

    def infer(images):
        logits, _ = stage.run({stages.IMAGE: images})
        return {"exit": tf.argmax(logits, axis=-1)}

    infer = tf.function(infer).get_concrete_function(specs)
    return lambda images: infer(tf.cast(images, tf.float32))


def _run(classifier, thresholds, images):
    return classifier.classify(tf.cast(images, tf.float32), thresholds)


def _passes(run, images, batch_size):
    """Runs the images in batches and waits for each."""
    for start in range(0, len(images), batch_size):
        result = run(images[start : start + batch_size])
        yield {"exit": result["exit"].numpy()}


def _seconds(run, images, batch_size):
    return latency.seconds_per_call(lambda: list(_passes(run, images, batch_size)), 1)


def _row(model, key, share, seconds):
    batch_size, leaving = key
    ratio = latency.median_ratio(seconds[key], seconds[batch_size, _FULL])
    return {
        "model": model,
        "leaving": leaving,
        "batch_size": batch_size,
        "images_per_s": _IMAGES / statistics.median(seconds[key]),
        # Both as a share of the largest sub-model's.
        "multiply_adds_share": float(share),
        "time_share": ratio,
        "saving_arrived": (1 - ratio) / (1 - share) if share < 1 else None,
    }
