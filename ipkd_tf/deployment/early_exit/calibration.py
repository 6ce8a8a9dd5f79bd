"""Probabilities that mean what they say: one temperature per sub-model."""

import numpy as np
from scipy import optimize, special

BINS = 15


def fit_temperature(logits, labels):
    """The temperature that minimises the negative log-likelihood of held-out labels.

    Args:
        logits: float `[images, classes]` of images the sub-model was not trained on.
        labels: Integers `[images]`.

    Returns:
        float: `softmax(logits / temperature)` is calibrated; above 1 for an over-confident
        sub-model. From 0.05, reached if all held-out images are right, to 20.

    Example:
        >>> temperatures = [fit_temperature(one, labels) for one in logits]

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(labels))

    def loss(logarithm):
        return -special.log_softmax(logits / np.exp(logarithm), axis=-1)[rows, labels].mean()

    # In the inverse temperature the loss is convex, so there is one minimum in its logarithm too.
    found = optimize.minimize_scalar(loss, bounds=np.log([0.05, 20.0]), method="bounded")
    return float(np.exp(found.x))


def expected_calibration_error(probabilities, labels, bins=BINS):
    """How far confidence is from accuracy, averaged over images.

    Args:
        probabilities: float `[images, classes]`.
        labels: Integers `[images]`.
        bins: Number of equal intervals of the largest probability.

    Returns:
        float in 0..1: sum over the bins of their share of the images times the absolute difference
        of accuracy and mean largest probability.

    Source: Guo et al. 2017, Eq. 3.
    """
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == labels
    # Bin m holds the confidences in ((m - 1) / bins, m / bins].
    numbers = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    differences = np.bincount(numbers, weights=correct - confidence, minlength=bins)
    return float(np.abs(differences).sum() / len(labels))
