"""Thresholds for a budget, fitted by computing what early exit would do with stored answers."""

import dataclasses

import numpy as np

# Above any confidence: nobody leaves at this exit, so its head does not run.
SKIP = 2.0
# Of the shares of neighbouring exits: from everybody at the first to everybody at the last, and
# between 98 % and 2 % of those at two of them each 10 % above the one before.
_RATIOS = (0.0, *np.geomspace(1 / 50, 50, 81), 1e9)
# Of confidence: less than 1 % of the images from one to the next.
_QUANTILES = np.linspace(0, 1, 121)


@dataclasses.dataclass(frozen=True)
class Costs:
    """What leaving at an exit costs for one image, in multiply-adds or milliseconds."""

    straight: np.ndarray  # [n], going straight to each exit, the heads of earlier ones skipped
    asking: np.ndarray  # [n - 1], more for each exit at which the image was asked and went on

    def leaving(self, thresholds):
        """Cost `[n]` of an image that leaves at each exit."""
        asked = np.where(np.asarray(thresholds) <= 1, self.asking, 0)
        return self.straight + np.append(0, np.cumsum(asked))


@dataclasses.dataclass(frozen=True)
class Answers:
    """What n sub-models, smallest first, said about the same images."""

    confidence: np.ndarray  # [n, images], in 0..1
    correct: np.ndarray  # [n, images], bool


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What thresholds make of images: `exits` `[images]` from 0, `accuracy`, mean `cost`."""

    thresholds: tuple
    exits: np.ndarray
    accuracy: float
    cost: float

    @property
    def shares(self):
        """Share of the images that leave at each exit, a list."""
        leaving = np.bincount(self.exits, minlength=len(self.thresholds) + 1)
        return (leaving / len(self.exits)).tolist()


def simulate(answers, costs, thresholds):
    """Lets each image leave at the first exit whose confidence reaches its threshold."""
    exits = leave(answers.confidence, thresholds)
    correct = answers.correct[exits, np.arange(len(exits))]
    cost = costs.leaving(thresholds)[exits]
    return Outcome(tuple(map(float, thresholds)), exits, float(correct.mean()), float(cost.mean()))


def leave(confidence, thresholds):
    """Number of the exit, from 0, at which each image leaves, integers `[images]`."""
    # Confidences and thresholds are compared in float32, as in a deployed file.
    thresholds = np.asarray(thresholds, np.float32)[:, None]
    sure = np.asarray(confidence, np.float32)[:-1] >= thresholds
    return np.concatenate([sure, np.ones_like(confidence[:1], bool)]).argmax(axis=0)


def single(answers, costs):
    """For each exit, what all images going straight to it reach: list of `Outcome`."""
    last = len(answers.correct) - 1
    choices = [[SKIP] * exit + [0.0] * (last - exit) for exit in range(last + 1)]
    return [simulate(answers, costs, thresholds) for thresholds in choices]


def geometric(answers, costs):
    """What is reached where the share that leaves at exit k is proportional to q^k, for many q.

    The surest leave first. (Huang et al., MSDNet, ICLR 2018, section 5; kalviny/MSDNet-PyTorch.)
    """
    series = [np.power(ratio, np.arange(len(answers.correct))) for ratio in _RATIOS]
    choices = [_for_shares(answers.confidence, powers / powers.sum()) for powers in series]
    return [simulate(answers, costs, thresholds) for thresholds in choices]


def _for_shares(confidence, shares):
    """Thresholds at which these shares of the images leave, halfway between two confidences."""
    staying = np.ones(confidence.shape[1], bool)
    thresholds = []
    for row, share in zip(confidence[:-1], shares[:-1], strict=True):
        here = np.sort(row[staying])[::-1]
        leaving = min(round(share * len(staying)), len(here))
        if 0 < leaving < len(here):
            thresholds.append(float(here[leaving - 1] + here[leaving]) / 2)
        else:
            thresholds.append(0.0 if leaving else SKIP)
        staying &= row < thresholds[-1]
    return thresholds


def uniform(answers, costs):
    """What is reached with the same threshold at every exit, for many: list of `Outcome`."""
    # As many images between two neighbours, counted over all exits.
    limits = np.quantile(answers.confidence[:-1], _QUANTILES)
    exits = len(answers.correct) - 1
    return [simulate(answers, costs, [limit] * exits) for limit in limits]


def within(outcomes, budget):
    """The most accurate outcome whose mean cost is within a budget; of equals, the cheapest."""
    # The mean of equal costs may be a rounding error above them.
    fitting = [outcome for outcome in outcomes if outcome.cost <= budget * (1 + 1e-9)]
    if not fitting:
        least = min(outcome.cost for outcome in outcomes)
        raise ValueError(
            f"Expected a budget of at least {least:.6g}, the cost of leaving at the cheapest exit. "
            f"Received: budget={budget:.6g}"
        )
    return max(fitting, key=lambda outcome: (outcome.accuracy, -outcome.cost))


def oracle(answers, costs, budget):
    """Accuracy of an ideal choice, which knows beforehand at which exits an image is right.

    Each image goes straight to its cheapest right exit, those first whose right answer adds least,
    or to the cheapest of all if none is right or the budget, None below that one, is used up.
    """
    cheapest = costs.straight.min()
    if budget < cheapest:
        return None
    right = np.where(answers.correct, costs.straight[:, None], np.inf).min(axis=0)
    extra = np.sort(right - cheapest)
    affordable = np.cumsum(extra) <= (budget - cheapest) * len(extra) * (1 + 1e-9)
    return float(np.mean(affordable & np.isfinite(extra)))
