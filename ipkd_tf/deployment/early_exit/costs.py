"""What the stages of a network cost: multiply-adds, or milliseconds on this machine."""

import numpy as np
from scipy import optimize

from ipkd_tf.deployment import latency
from ipkd_tf.deployment.early_exit.simulation import SKIP, Costs
from ipkd_tf.models import cost, stages


def multiply_adds(network):
    """Multiply-adds of each stage of a network for one image, as `Costs`."""
    parts = stages.partition(network)
    return Costs(
        np.array([_multiply_adds(stage.body) for stage in parts], float),
        np.array([_multiply_adds(stage.head) for stage in parts], float),
    )


def _multiply_adds(piece):
    return cost.multiply_adds(piece.model) if piece else 0


def milliseconds(classifier, images, warmup=5, repeats=30):
    """Latency of each stage for one image on this machine, as `Costs`.

    Whole calls are timed, with all that deciding and regrouping costs: for each exit, an image that
    goes straight to it and one that passes every exit before it, in turn. The stages' times are
    those that explain the medians best (least squares, none below 0).

    Args:
        classifier: `AdaptiveClassifier`.
        images: uint8 `[images, height, width, 3]`, of which one is taken that is not entirely sure
            at any exit.
        warmup: Calls of each kind before the clock starts.
        repeats: Timed calls of each kind.

    Raises:
        ValueError: Every image is entirely sure somewhere.
    """
    count = len(classifier.names)
    never_sure = np.flatnonzero(classifier(images, [1.0] * (count - 1))["exit"] == count - 1)
    if not len(never_sure):
        raise ValueError(
            "Expected an image with a confidence below 1 at every exit; give more images. "
            f"Received: images of shape {np.shape(images)}"
        )
    image = images[never_sure[0] : never_sure[0] + 1]
    routes = [(k, skip) for k in range(count) for skip in (True, False)]
    seconds = latency.interleaved(
        {route: _sample(classifier, image, _thresholds(*route, count)) for route in routes},
        repeats,
        warmup,
    )
    passed = np.array([_pieces(*route, count) for route in routes])
    seconds, _ = optimize.nnls(passed, [np.median(seconds[route]) for route in routes])
    return Costs(1e3 * seconds[:count], 1e3 * seconds[count:])


def _thresholds(exit, skip, count):
    """Thresholds with which an image leaves at `exit`, the heads before it skipped or not."""
    return [SKIP if skip else 1.0] * exit + [0.0] * (count - 1 - exit)


def _pieces(exit, skip, count):
    """1 for each body, then for each head, that such an image pays."""
    numbers = np.arange(count)
    heads = numbers == exit if skip else numbers <= exit
    return np.concatenate([numbers <= exit, heads]).astype(float)


def _sample(classifier, image, thresholds):
    """A function that classifies the image once and returns the seconds it took."""
    return lambda: latency.seconds_per_call(
        lambda: classifier(image, thresholds), 1, lambda result: result["exit"].numpy()
    )
