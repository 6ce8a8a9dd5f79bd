"""How sure a sub-model is of its answer: three functions of its probabilities."""

import math

import keras


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
    """The function of a name.

    Raises:
        ValueError: There is none of this name.

    Example:
        >>> measure("margin")(probabilities)
    """
    if name not in MEASURES:
        raise ValueError(f"Expected one of {', '.join(MEASURES)}. Received: confidence={name!r}")
    return MEASURES[name]
