"""What early exit makes of a network: fitted on held-out images, applied to test images."""

import dataclasses

import numpy as np
from scipy import special

from ipkd_tf.deployment.early_exit import calibration, confidence, simulation, thresholds
from ipkd_tf.deployment.early_exit.costs import multiply_adds
from ipkd_tf.models import flexible

_STEPS = 4  # budgets from one sub-model to the next


@dataclasses.dataclass(frozen=True)
class Study:
    """Everything fitted and measured.

    Attributes:
        names: Of the sub-models, smallest first.
        confidence: Name of the measure of confidence.
        temperatures: One for each sub-model; all 1 without calibration.
        submodels: One dict per sub-model: name, test accuracy, cost (going straight to it),
            temperature, ece_before and ece_after scaling (test).
        costs: `simulation.Costs`.
        held_out, test: `simulation.Answers`.
        choices: Lists of `thresholds.Fitted` by method: `single`, `geometric`, `direct`.
    """

    names: tuple
    confidence: str
    temperatures: tuple
    submodels: list
    costs: simulation.Costs
    held_out: simulation.Answers
    test: simulation.Answers
    choices: dict

    def within(self, budget, method="direct"):
        """The `Fitted` thresholds of a method for a mean cost per image."""
        return thresholds.within(self.choices[method], budget)

    def curve(self, budgets=None):
        """Accuracy and mean cost on the test images for a range of budgets.

        Args:
            budgets: Mean costs per image; None for some from each sub-model's to the next.

        Returns:
            One dict per budget and method: method (`single`: the best single sub-model within the
            budget, `geometric`, `direct`, `oracle`), budget, accuracy, cost, and, but for the
            oracle, held_out_accuracy, held_out_cost, thresholds, and shares of the images that
            leave at each exit.
        """
        budgets = self._budgets() if budgets is None else budgets
        return [row for budget in budgets for row in self._rows(budget)]

    def _budgets(self):
        stops = np.sort(self.costs.direct)
        between = [
            np.linspace(low, high, _STEPS, endpoint=False)
            for low, high in zip(stops[:-1], stops[1:], strict=True)
        ]
        return [*np.concatenate(between), stops[-1]]

    def _rows(self, budget):
        rows = [
            {"method": method, "budget": float(budget), **self._tested(choices, budget)}
            for method, choices in self.choices.items()
        ]
        ideal = simulation.oracle(self.test, self.costs, budget)
        return [*rows, {"method": "oracle", "budget": float(budget), "accuracy": ideal}]

    def _tested(self, choices, budget):
        fitted = thresholds.within(choices, budget)
        outcome = simulation.simulate(self.test, self.costs, fitted.thresholds)
        return {
            "accuracy": outcome.accuracy,
            "cost": outcome.cost,
            "held_out_accuracy": fitted.accuracy,
            "held_out_cost": fitted.cost,
            "thresholds": list(fitted.thresholds),
            "shares": outcome.shares(len(self.names)).tolist(),
        }


def study(network, held_out, test, measure="probability", calibrate=True, costs=None):
    """Fits early exit of a network and applies it to test images.

    Args:
        network: A flexible network.
        held_out: (logits `[n, images, classes]`, labels `[images]`) of images that were not trained
            on and are not test images.
        test: The same of test images.
        measure: `probability`, `margin` or `entropy`.
        calibrate: Whether each sub-model's logits are divided by a fitted temperature.
        costs: `simulation.Costs`; None for multiply-adds.

    Returns:
        `Study`.

    Example:
        >>> study(network, held_out, test).within(8e6).thresholds
    """
    names = flexible.names(network)
    temperatures = (1.0,) * len(names)
    if calibrate:
        temperatures = tuple(calibration.fit_temperature(one, held_out[1]) for one in held_out[0])
    costs = costs or multiply_adds(network)
    answers = [answers_of(*images, temperatures, measure) for images in (held_out, test)]
    return Study(
        names,
        measure,
        temperatures,
        _submodels(names, *test, temperatures, costs),
        costs,
        *answers,
        {
            "single": thresholds.single(answers[0], costs),
            "geometric": thresholds.geometric(answers[0], costs),
            "direct": thresholds.direct(answers[0], costs),
        },
    )


def answers_of(logits, labels, temperatures, measure):
    """Confidence and correctness of n sub-models, as `simulation.Answers`."""
    measured = [
        np.asarray(confidence.measure(measure)(_probabilities(one, temperature)))
        for one, temperature in zip(logits, temperatures, strict=True)
    ]
    correct = [one.argmax(axis=-1) == labels for one in logits]
    return simulation.Answers(np.stack(measured), np.stack(correct))


def _probabilities(logits, temperature):
    return special.softmax(np.asarray(logits, np.float32) / np.float32(temperature), axis=-1)


def _submodels(names, logits, labels, temperatures, costs):
    rows = []
    for name, one, temperature, cost in zip(names, logits, temperatures, costs.direct, strict=True):
        before, after = (
            calibration.expected_calibration_error(_probabilities(one, t), labels)
            for t in (1.0, temperature)
        )
        rows.append(
            {
                "name": name,
                "accuracy": float(np.mean(one.argmax(axis=-1) == labels)),
                "cost": float(cost),
                "temperature": temperature,
                "ece_before": before,
                "ece_after": after,
            }
        )
    return rows
