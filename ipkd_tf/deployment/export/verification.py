"""A written file compared with the network it came from, on images."""

import numpy as np

_BATCH = 64


def predict(model, images, signature):
    """Runs an opened file over images in batches; dict of outputs `[images, ...]`."""
    batches = [
        model(images[start : start + _BATCH], signature) for start in range(0, len(images), _BATCH)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def compare(outputs, logits, labels=None):
    """Compares the outputs of a file with the logits of the network.

    Args:
        outputs: Dict of `logits`, `probabilities`, `class_id`.
        logits: float32 `[images, classes]` of the network, for the same images.
        labels: Integer `[images]`, or None.

    Returns:
        Dict of `images` (their number), `largest_difference` (of a logit), `largest_logit`
        (absolute), `equal_decisions` (share) and, with labels, `accuracy` of the file and
        `network_accuracy`.
    """
    decisions = logits.argmax(axis=-1)
    scores = {
        "images": len(logits),
        "largest_difference": float(np.abs(outputs["logits"] - logits).max()),
        "largest_logit": float(np.abs(logits).max()),
        "equal_decisions": float(np.mean(outputs["class_id"] == decisions)),
    }
    if labels is not None:
        scores["accuracy"] = float(np.mean(outputs["class_id"] == labels))
        scores["network_accuracy"] = float(np.mean(decisions == labels))
    return scores


def check(scores, tolerance, what):
    """Raises ValueError if the scores of `compare` are outside the tolerance."""
    limit = tolerance.difference * max(1.0, scores["largest_logit"])
    difference, agreement = scores["largest_difference"], scores["equal_decisions"]
    # Written so that a NaN fails.
    if not (difference <= limit and agreement >= tolerance.agreement):
        raise ValueError(
            f"{what} does not compute what the network computes: the largest difference of a "
            f"logit is {difference:.3g} (allowed: {limit:.3g}), equal decisions on "
            f"{agreement:.2%} of {scores['images']} images (needed: {tolerance.agreement:.2%}); "
            f"nothing was written. Received: tolerance={tolerance}"
        )
