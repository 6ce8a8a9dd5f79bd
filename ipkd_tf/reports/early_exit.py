"""A study of early exit as text, a table for other programs, and a figure."""

import pandas as pd
import tabulate

from ipkd_tf.output import figures

_METHODS = {
    "single": "single sub-models",
    "geometric": "early exit, geometric shares",
    "direct": "early exit, fitted for accuracy",
    "oracle": "ideal choice (oracle)",
}
_UNITS = {"multiply_adds": ("multiply-adds (millions)", 1e6), "milliseconds": ("milliseconds", 1)}


def text(study, rows, quantity):
    """The sub-models and the curve as two tables.

    Args:
        study: `study.Study`.
        rows: Of its `curve`.
        quantity: `multiply_adds` or `milliseconds`, what its costs are.
    """
    label, unit = _UNITS[quantity]
    submodels = [
        [row["name"], 100 * row["accuracy"], row["cost"] / unit, row["temperature"]]
        + [100 * row["ece_before"], 100 * row["ece_after"]]
        for row in study.submodels
    ]
    heads = ["sub-model", "accuracy %", label, "temperature", "ECE %", "ECE % scaled"]
    curve = [_line(budget, group, unit) for budget, group in pd.DataFrame(rows).groupby("budget")]
    below = ["budget", "single %", "geometric %", "at cost", "fitted %", "at cost", "ideal %"]
    formats = (".4g", ".2f", ".2f", ".4g", ".2f", ".4g", ".2f")
    return "\n".join(
        [
            tabulate.tabulate(submodels, heads, floatfmt=("", ".2f", ".4g", ".3f", ".2f", ".2f")),
            "",
            f"Test accuracy within a mean cost per image, {label}:",
            tabulate.tabulate(curve, below, floatfmt=formats, missingval="-"),
        ]
    )


def _line(budget, group, unit):
    of = group.set_index("method")
    percent, cost = 100 * of["accuracy"].astype(float), of["cost"] / unit
    early = [value for name in ("geometric", "direct") for value in (percent[name], cost[name])]
    return [budget / unit, percent["single"], *early, percent["oracle"]]


def frame(study, rows):
    """The rows of a curve as a `pandas.DataFrame`, a column for each threshold and share."""
    whole = pd.DataFrame(rows)
    for key in ("thresholds", "shares"):
        values = pd.DataFrame([x if isinstance(x, list) else [] for x in whole.pop(key)])
        names = [f"{key.removesuffix('s')}_{study.names[k]}" for k in values.columns]
        whole = whole.join(values.set_axis(names, axis=1))
    return whole


def draw(study, rows, quantity, title, path):
    """Writes the figure: test accuracy over mean cost per image."""
    label, unit = _UNITS[quantity]
    figure, (axes,) = figures.figure(1, title)
    whole = pd.DataFrame(rows)
    # An ideal choice costs what the budget allows.
    whole["cost"] = whole["cost"].fillna(whole["budget"])
    for number, (method, name) in enumerate(_METHODS.items()):
        of_method = whole[whole["method"] == method]
        cost, accuracy = of_method["cost"] / unit, 100 * of_method["accuracy"].astype(float)
        if method == "single":
            cost = [row["cost"] / unit for row in study.submodels]
            accuracy = [100 * row["accuracy"] for row in study.submodels]
        axes.plot(cost, accuracy, label=name, **figures.style(number, len(_METHODS)))
    axes.set(xlabel=f"{label}, mean per image", ylabel="test accuracy (%)")
    axes.legend(loc="lower right", fontsize="small")
    figures.save(figure, path)
