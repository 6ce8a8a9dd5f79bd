"""What early exit makes of a network: fitted on held-out images, applied to test images."""

import dataclasses

import keras
import numpy as np
from scipy import special

from ipkd_tf.deployment.early_exit import confidence as confidences
from ipkd_tf.deployment.early_exit import thresholds
from ipkd_tf.deployment.early_exit.costs import multiply_adds
from ipkd_tf.models import flexible
from ipkd_tf.output.checks import check

_STEPS = 4  # budgets from one sub-model to the next: enough to see where the curve bends


@dataclasses.dataclass(frozen=True)
class Study:
    """Everything fitted and measured."""

    names: tuple  # of the sub-models, smallest first
    confidence: str  # name of its measure
    temperatures: tuple  # one for each sub-model; all 1 without calibration
    # One dict per sub-model: name, test accuracy, cost (going straight to it), temperature,
    # ece_before and ece_after scaling (test).
    submodels: list
    costs: thresholds.Costs
    held_out: thresholds.Answers
    test: thresholds.Answers
    # Lists of outcomes on the held-out images: `single` for each sub-model alone, `early_exit` for
    # these, geometric shares and uniform thresholds.
    choices: dict

    def within(self, budget, method="early_exit"):
        """Outcomes on the (held-out, test) images of what is best within a mean cost per image.

        It is chosen on the held-out images; ValueError if the budget is too small.
        """
        best = thresholds.within(self.choices[method], budget)
        return best, thresholds.simulate(self.test, self.costs, best.thresholds)

    def curve(self):
        """Accuracy and mean cost on the test images, for budgets from each sub-model to the next.

        Returns:
            One dict per budget and method: method (`single`: the best single sub-model within the
            budget, `early_exit`, `oracle`), budget, accuracy, and, but for the oracle, cost,
            held_out_accuracy, held_out_cost, thresholds, and shares of the images that leave at
            each exit.
        """
        stops = np.sort(self.costs.straight)
        pairs = zip(stops[:-1], stops[1:], strict=True)
        between = [np.linspace(low, high, _STEPS, endpoint=False) for low, high in pairs]
        budgets = [*np.concatenate(between).tolist(), float(stops[-1])]
        return [row for budget in budgets for row in self._rows(budget)]

    def _rows(self, budget):
        for method in self.choices:
            held_out, test = self.within(budget, method)
            yield {
                "method": method,
                "budget": budget,
                "accuracy": test.accuracy,
                "cost": test.cost,
                "held_out_accuracy": held_out.accuracy,
                "held_out_cost": held_out.cost,
                "thresholds": list(test.thresholds),
                "shares": test.shares,
            }
        ideal = thresholds.oracle(self.test, self.costs, budget)
        yield {"method": "oracle", "budget": budget, "accuracy": ideal}


def fit(
    network: keras.Model,
    held_out: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    confidence: str = "probability",
    calibrate: bool = True,
    costs: thresholds.Costs | None = None,
) -> Study:
    """Fits early exit of a network and applies it to test images.

    Args:
        network: A flexible network of at least two sub-models.
        held_out: (logits `[n, images, classes]`, labels `[images]`) of images that were not trained
            on and are not test images.
        test: The same of test images.
        confidence: `probability`, `margin` or `entropy`.
        calibrate: Whether each sub-model's logits are divided by a fitted temperature.
        costs: `thresholds.Costs`; None for multiply-adds.

    Returns:
        `Study`.

    Raises:
        ValueError: The network has a single sub-model.

    Example:
        >>> held_out, test = fit(network, held_out, test).within(8e6)
        >>> classify = EarlyExitClassifier(network, test.thresholds)
    """
    names = flexible.names(network)
    check(len(names) > 1, "a network of at least two sub-models", submodels=names)
    temperatures = [
        confidences.fit_temperature(logits, held_out[1]) if calibrate else 1.0
        for logits in held_out[0]
    ]
    costs = costs or multiply_adds(network)
    answers = [answers_of(*images, temperatures, confidence) for images in (held_out, test)]
    single, geometric, uniform = (
        family(answers[0], costs)
        for family in (thresholds.single, thresholds.geometric, thresholds.uniform)
    )
    return Study(
        names,
        confidence,
        tuple(temperatures),
        _scores(names, *test, temperatures, costs),
        costs,
        *answers,
        {"single": single, "early_exit": single + geometric + uniform},
    )


def answers_of(logits, labels, temperatures, confidence):
    """Confidence and correctness of n sub-models, as `thresholds.Answers`."""
    measure = confidences.measure(confidence)
    scaled = map(_probabilities, logits, temperatures)
    correct = [sub_logits.argmax(axis=-1) == labels for sub_logits in logits]
    return thresholds.Answers(np.stack([measure(one) for one in scaled]), np.stack(correct))


def _probabilities(logits, temperature):
    return special.softmax(np.asarray(logits, np.float32) / np.float32(temperature), axis=-1)


def _scores(names, logits, labels, temperatures, costs):
    error = confidences.expected_calibration_error
    return [
        {
            "name": name,
            "accuracy": float(np.mean(logits[k].argmax(axis=-1) == labels)),
            "cost": float(costs.straight[k]),
            "temperature": temperatures[k],
            "ece_before": error(_probabilities(logits[k], 1.0), labels),
            "ece_after": error(_probabilities(logits[k], temperatures[k]), labels),
        }
        for k, name in enumerate(names)
    ]
