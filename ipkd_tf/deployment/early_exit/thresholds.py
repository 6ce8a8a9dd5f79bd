"""Thresholds for a budget, fitted on held-out images: a family of exit shares, or directly."""

import dataclasses

import numpy as np

from ipkd_tf.deployment.early_exit import simulation

# From everybody at the first exit to everybody at the last.
_RATIOS = (0.0, *np.geomspace(0.02, 50.0, 81), 1e9)
_PRICES = np.geomspace(1e-4, 10.0, 121)
_MOST_SWEEPS = 20


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Thresholds `[n - 1]`, and what they reach on the images they were fitted on."""

    thresholds: tuple
    accuracy: float
    cost: float


def geometric(answers, costs):
    """One choice of thresholds for each of many ratios of a geometric series of exit shares.

    The share of the images that leave at exit k is proportional to q^k; the surest leave first.

    Args:
        answers: `simulation.Answers` for held-out images.
        costs: `simulation.Costs`.

    Returns:
        List of `Fitted`.

    Source: Huang et al., MSDNet, ICLR 2018, section 5 (budgeted batch classification);
    kalviny/MSDNet-PyTorch, adaptive_inference.py.
    """
    count = len(answers.correct)
    series = [np.power(ratio, np.arange(count)) for ratio in _RATIOS]
    return [_fitted(answers, costs, _for_shares(answers, one / one.sum())) for one in series]


def single(answers, costs):
    """For each exit, the choice that all images go straight to it: list of `Fitted`."""
    count = len(answers.correct)
    rows = [[simulation.SKIP] * k + [0.0] * (count - 1 - k) for k in range(count)]
    return [_fitted(answers, costs, thresholds) for thresholds in rows]


def direct(answers, costs):
    """Many choices of thresholds, from cheap to accurate, each fitted for accuracy itself.

    For a price per unit of cost, thresholds are changed one at a time, each to its best value given
    the others, until accuracy minus price times cost grows no more; exits that are not worth their
    head are skipped. A row of prices gives the whole trade-off.

    Args:
        answers: `simulation.Answers` for held-out images.
        costs: `simulation.Costs`.

    Returns:
        List of `Fitted`; those of `geometric` and each single exit are among them.
    """
    starts = geometric(answers, costs) + single(answers, costs)
    found, previous = list(starts), (simulation.SKIP,) * (len(answers.correct) - 1)
    for price in _PRICES / costs.direct[-1]:
        best = max(starts, key=lambda one, price=price: one.accuracy - price * one.cost)
        climbed = [_climb(answers, costs, start, price) for start in (previous, best.thresholds)]
        candidates = [_fitted(answers, costs, thresholds) for thresholds in climbed]
        found += candidates
        previous = max(candidates, key=lambda one: one.accuracy - price * one.cost).thresholds
    return found


def within(fitted, budget):
    """The most accurate choice whose cost is within a budget; of equals, the cheapest.

    Raises:
        ValueError: None is.

    Example:
        >>> within(direct(answers, costs), budget=8e6).thresholds
    """
    fitting = [one for one in fitted if one.cost <= budget]
    if not fitting:
        least = min(one.cost for one in fitted)
        raise ValueError(
            f"Expected a budget of at least {least:.6g}, the cost of leaving at the cheapest exit. "
            f"Received: budget={budget:.6g}"
        )
    return max(fitting, key=lambda one: (one.accuracy, -one.cost))


def _fitted(answers, costs, thresholds):
    outcome = simulation.simulate(answers, costs, thresholds)
    return Fitted(tuple(map(float, thresholds)), outcome.accuracy, outcome.cost)


def _for_shares(answers, shares):
    staying = np.ones(answers.correct.shape[1], bool)
    thresholds = []
    for confidence, share in zip(answers.confidence[:-1], shares[:-1], strict=True):
        here = np.sort(confidence[staying])[::-1]
        leaving = min(round(share * len(staying)), len(here))
        thresholds.append(_between(here, leaving))
        staying &= confidence < thresholds[-1]
    return thresholds


def _between(descending, leaving):
    """A threshold that the first `leaving` of some confidences reach, and no others."""
    if leaving == 0:
        return simulation.SKIP
    if leaving == len(descending):
        return 0.0
    return float(descending[leaving - 1] + descending[leaving]) / 2


def _climb(answers, costs, thresholds, price):
    """Improves thresholds one at a time, from the last exit to the first, until none changes."""
    thresholds = list(thresholds)
    for _ in range(_MOST_SWEEPS):
        before = list(thresholds)
        worth = answers.correct[-1] - price * (costs.bodies[-1] + costs.heads[-1])
        for exit in reversed(range(len(thresholds))):
            arriving = simulation.leave(answers.confidence, _all_from(thresholds, exit)) >= exit
            confidence, correct = answers.confidence[exit], answers.correct[exit]
            thresholds[exit] = _best(
                confidence[arriving], (correct - worth)[arriving], price * costs.heads[exit]
            )
            worth = _worth(confidence, correct, worth, thresholds[exit], costs, price, exit)
        if thresholds == before:
            break
    return thresholds


def _all_from(thresholds, exit):
    """The thresholds with everybody leaving at `exit` at the latest."""
    return [*thresholds[:exit], 0.0, *thresholds[exit + 1 :]]


def _worth(confidence, correct, later, threshold, costs, price, exit):
    """Right answers minus price times cost of images `[images]` that come to an exit."""
    body, head = price * costs.bodies[exit], price * costs.heads[exit]
    if threshold > 1:
        return later - body
    return np.where(confidence >= threshold, correct, later) - body - head


def _best(confidence, gains, head):
    """The threshold with the largest sum of gains of those who reach it, if that pays the head."""
    order = np.argsort(-confidence, kind="stable")
    confidence, sums = confidence[order], np.cumsum(gains[order])
    # Between equal confidences there is no threshold.
    possible = np.append(confidence[1:] < confidence[:-1], True)
    if not len(sums) or not possible.any():
        return simulation.SKIP
    leaving = np.flatnonzero(possible)[np.argmax(sums[possible])]
    worthwhile = sums[leaving] > head * len(gains)
    return _between(confidence, leaving + 1) if worthwhile else simulation.SKIP
