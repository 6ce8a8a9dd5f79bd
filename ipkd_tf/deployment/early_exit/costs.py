"""What leaving at each exit costs: multiply-adds, or milliseconds on this machine."""

import functools

import numpy as np

from ipkd_tf.deployment import latency
from ipkd_tf.deployment.early_exit.classifier import EarlyExitClassifier
from ipkd_tf.deployment.early_exit.thresholds import SKIP, Costs
from ipkd_tf.models import cost, stages


def multiply_adds(network):
    """Multiply-adds for one image that leaves at an exit of a network, as `Costs`."""
    parts = stages.partition(network)
    bodies, heads = (
        np.array([cost.multiply_adds(piece.model) if piece else 0 for piece in pieces], float)
        for pieces in ([part.body for part in parts], [part.head for part in parts])
    )
    return Costs(np.cumsum(bodies) + heads, heads[:-1])


def milliseconds(network, image, confidence="probability", warmup=5, repeats=30):
    """Median latency of one image that leaves at an exit, on this machine, as `Costs`.

    Whole calls are timed, going straight to each exit and asked at every exit before it, in turn.
    """
    count = len(network.outputs)
    # Logits divided by this make no image sure, so each call goes as far as it is sent.
    classify = EarlyExitClassifier(network, [SKIP] * (count - 1), confidence, [1e6] * count)
    routes = [
        [before] * exit + [0.0] * (count - 1 - exit)
        for before in (SKIP, 1.0)
        for exit in range(count)
    ]
    calls = [functools.partial(_seconds, classify, image, thresholds) for thresholds in routes]
    seconds = latency.interleaved(dict(enumerate(calls)), repeats, warmup)
    straight, asked = 1e3 * np.median([*seconds.values()], axis=1).reshape(2, count)
    straight[0] = asked[0] = (straight[0] + asked[0]) / 2  # the same way, timed twice
    return Costs(straight, np.diff(asked - straight))


def mean_milliseconds(classify, images, warmup=20):
    """Mean and 95th percentile of the latency of images one at a time, `warmup` of them untimed."""
    seconds = [_seconds(classify, image) for image in images[:, None]]
    timed = 1e3 * np.array(seconds[warmup:] or seconds)
    return float(timed.mean()), float(np.percentile(timed, 95))


def _seconds(classify, *arguments):
    call = functools.partial(classify, *arguments)
    return latency.seconds_per_call(call, 1, lambda result: np.asarray(result["exit"]))
