"""A written file compared with the network it came from, on images."""

import dataclasses
import functools

import keras
import numpy as np

from ipkd_tf.models import naming
from ipkd_tf.output import checks, counter

_BATCH = 64  # keeps activations small
_NOISE = 64  # images, where there are no others
_PROBABILITY = 0.05  # int8 rounds probabilities to 1/256, their exponentials coarser


@dataclasses.dataclass(frozen=True)
class Reference:
    """Images, their labels or None, and the network's logits for them by sub-model."""

    images: np.ndarray
    labels: np.ndarray | None
    logits: dict

    @classmethod
    def of(cls, network, names, images=None, labels=None):
        """Runs a network with an output for each name; images None for noise."""
        if images is None:
            shape = (_NOISE, *network.inputs[0].shape[1:])
            images, labels = np.random.default_rng(0).integers(0, 256, shape, np.uint8), None
        checks.check(len(images), "at least one image to compare on", images=[])

        def run(batch):
            naming.check_images(network, batch)
            return network.predict_on_batch(batch)

        logits = predict(run, images, what="running the network")
        logits = keras.tree.flatten(logits)
        return cls(images, labels, dict(zip(names, logits, strict=True)))

    def verify(self, opened, format, tolerance):
        """The scores of an opened file for each sub-model; ValueError outside the tolerance."""
        scored = []
        for name, logits in self.logits.items():
            # A format that holds a single sub-model need not know its name.
            signature = name if len(self.logits) > 1 else opened.signatures[0]
            call = functools.partial(opened, signature=signature)
            outputs = predict(call, self.images, what=f"running {format} of {name}")
            scores = compare(outputs, logits, self.labels)
            check(scores, tolerance, f"{format} of {name}")
            scored.append({"submodel": name, **scores})
        return scored


def predict(call, images, batch_size=_BATCH, what="classifying"):
    """What a function of images, or of `Examples`, returns for all of them, batch by batch."""
    results, tell = [], counter.count(what)
    for start in range(0, len(images), batch_size):
        results.append(call(images[start : start + batch_size]))
        tell(min(start + batch_size, len(images)), len(images))
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *results)


def compare(outputs, logits, labels=None):
    """Compares a file's outputs with the network's logits: differences, decisions, accuracies."""
    decisions = logits.argmax(axis=-1)
    shifted = np.exp(outputs["logits"] - outputs["logits"].max(axis=-1, keepdims=True))
    expected = shifted / shifted.sum(axis=-1, keepdims=True)
    scores = {
        "images": len(logits),
        "largest_difference": float(np.abs(outputs["logits"] - logits).max()),
        "largest_logit": float(np.abs(logits).max()),
        "probability_difference": float(np.abs(outputs["probabilities"] - expected).max()),
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
    of_probability = scores["probability_difference"]
    # Written so that a NaN fails.
    if not (
        difference <= limit
        and agreement >= tolerance.agreement
        and of_probability <= max(1e-5, min(tolerance.difference, _PROBABILITY))
    ):
        raise ValueError(
            f"{what} does not compute what the network computes: the largest difference of a "
            f"logit is {difference:.3g} (allowed: {limit:.3g}), of a probability "
            f"{of_probability:.3g}, equal decisions on {agreement:.2%} of {scores['images']} "
            f"images (needed: {tolerance.agreement:.2%}); nothing was written. "
            f"Received: tolerance={tolerance}"
        )


def line(check):
    """One `check` of a manifest as a line of text."""
    text = (
        f"  {check['submodel']}: largest difference {check['largest_difference']:.2g} of logits "
        f"up to {check['largest_logit']:.3g}, equal decisions {check['equal_decisions']:.2%} of "
        f"{check['images']} images"
    )
    if "accuracy" in check:
        text += f", accuracy {check['accuracy']:.2%} (network: {check['network_accuracy']:.2%})"
    return text
