"""What early exit would do, computed from stored answers: accuracy and average cost."""

import dataclasses

import numpy as np

# Above any confidence: nobody leaves at this exit, so its head does not run.
SKIP = 2.0


@dataclasses.dataclass(frozen=True)
class Costs:
    """What each stage costs for one image, in any unit: multiply-adds or milliseconds.

    Attributes:
        bodies: float `[n]`, paid by every image that comes to the stage.
        heads: float `[n]`, paid as well unless the exit is skipped.
    """

    bodies: np.ndarray
    heads: np.ndarray

    def leaving(self, thresholds):
        """Cost `[n]` of an image that leaves at each exit."""
        visited = [*(threshold <= 1 for threshold in thresholds), True]
        return np.cumsum(self.bodies + self.heads * np.array(visited))

    @property
    def direct(self):
        """Cost `[n]` of an image that goes straight to each exit, all earlier heads skipped."""
        return np.cumsum(self.bodies) + self.heads


@dataclasses.dataclass(frozen=True)
class Answers:
    """What n sub-models, smallest first, said about the same images.

    Attributes:
        confidence: float `[n, images]`, of `confidence.MEASURES`.
        correct: bool `[n, images]`.
    """

    confidence: np.ndarray
    correct: np.ndarray


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What becomes of images: `exits` `[images]` from 0, `accuracy` in 0..1, mean `cost`."""

    exits: np.ndarray
    accuracy: float
    cost: float

    def shares(self, count):
        """Share of the images that leave at each of `count` exits."""
        return np.bincount(self.exits, minlength=count) / len(self.exits)


def simulate(answers, costs, thresholds):
    """Lets each image leave at the first exit whose confidence reaches its threshold.

    Args:
        answers: `Answers`.
        costs: `Costs`.
        thresholds: float `[n - 1]`: 0 lets every image leave, above 1 skips the exit. The last exit
            takes all that are left.

    Returns:
        `Outcome`.
    """
    exits = leave(answers.confidence, thresholds)
    correct = answers.correct[exits, np.arange(len(exits))]
    cost = costs.leaving(thresholds)[exits]
    return Outcome(exits, float(correct.mean()), float(cost.mean()))


def leave(confidence, thresholds):
    """Number of the exit, from 0, at which each image leaves, integers `[images]`."""
    # Confidences and thresholds are compared in float32, as in a deployed file.
    thresholds = np.asarray(thresholds, np.float32)[:, None]
    sure = np.asarray(confidence, np.float32)[:-1] >= thresholds
    return np.concatenate([sure, np.ones_like(confidence[:1], bool)]).argmax(axis=0)


def oracle(answers, costs, budget):
    """Accuracy of an ideal choice, which knows beforehand at which exits an image is right.

    Each image goes straight to its cheapest right exit, or to the cheapest exit of all if none is
    right or the budget is used up; images whose right answer adds least come first, which is best.

    Args:
        answers: `Answers`.
        costs: `Costs`.
        budget: Mean cost per image.

    Returns:
        float in 0..1; None if the budget is below that of the cheapest exit.
    """
    direct = costs.direct
    if budget < direct.min():
        return None
    cheapest_right = np.where(answers.correct, direct[:, None], np.inf).min(axis=0)
    extra = np.sort(cheapest_right - direct.min())
    images = len(extra)
    affordable = np.cumsum(extra) <= (budget - direct.min()) * images * (1 + 1e-9)
    return float((affordable & np.isfinite(extra)).sum() / images)
