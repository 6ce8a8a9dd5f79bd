"""How sure a sub-model is of its answer, and how far that is what it should be."""

import math

import keras
import numpy as np
from scipy import optimize, special

from ipkd_tf.output.checks import check_choice


def largest_probability(probabilities):
    """The probability of the class decided for (MSDNet's confidence)."""
    return keras.ops.max(probabilities, axis=-1)


def margin(probabilities):
    """The largest probability minus the second largest."""
    largest, _ = keras.ops.top_k(probabilities, 2)
    return largest[..., 0] - largest[..., 1]


def entropy(probabilities):
    """1 minus the entropy, as a share of the entropy of a guess (BranchyNet's, turned round)."""
    # A probability of 0 contributes 0, as the limit does; its logarithm must stay finite.
    logarithms = keras.ops.log(keras.ops.maximum(probabilities, 1e-30))
    negative = keras.ops.sum(probabilities * logarithms, axis=-1)
    return keras.ops.maximum(1 + negative / math.log(probabilities.shape[-1]), 0)


# Each maps probabilities [batch, classes] to [batch], larger when surer and in 0..1: so a threshold
# of 0 lets every image leave, and one above 1 lets none.
MEASURES = {"probability": largest_probability, "margin": margin, "entropy": entropy}


def measure(name):
    """The function of a name from `MEASURES`; ValueError if there is none."""
    check_choice(MEASURES, confidence=name)
    return MEASURES[name]


def fit_temperature(logits, labels):
    """The temperature, 0.05 to 20, at which `softmax(logits / temperature)` fits labels best.

    The least negative log-likelihood on held-out images (Guo et al., ICML 2017, section 4.2).
    """
    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(labels))

    def loss(logarithm):
        return -special.log_softmax(logits / np.exp(logarithm), axis=-1)[rows, labels].mean()

    # In the inverse temperature the loss is convex, so there is one minimum in its logarithm too.
    fit = optimize.minimize_scalar(loss, bounds=np.log([0.05, 20.0]), method="bounded")
    return float(np.exp(fit.x))


def expected_calibration_error(probabilities, labels, bins=15):
    """How far confidence is from accuracy in each bin, averaged over images (Guo et al., Eq. 3)."""
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == labels
    # Bin m holds the confidences in ((m - 1) / bins, m / bins].
    numbers = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    differences = np.bincount(numbers, weights=correct - confidence, minlength=bins)
    return float(np.abs(differences).sum() / len(labels))
