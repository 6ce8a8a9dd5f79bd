"""A study of early exit as text, a table for other programs, and a figure."""

import numpy as np
import pandas as pd

from ipkd_tf.output import figures, tables

_METHODS = {
    "single": "single sub-models",
    "early_exit": "early exit",
    "oracle": "ideal choice (oracle)",
}
_UNITS = {"multiply_adds": ("multiply-adds (millions)", 1e6), "milliseconds": ("milliseconds", 1)}


def text(study, rows, quantity):
    """The sub-models of a `Study` and the rows of its curve as two tables."""
    label, unit = _UNITS[quantity]

    def cost(value):
        return f"{value / unit:.4g}"

    submodels = [
        ("sub-model", "name", "{}"),
        ("accuracy %", "accuracy", tables.percent),
        (label, "cost", cost),
        ("temperature", "temperature", "{:.3f}"),
        ("ECE %", "ece_before", tables.percent),
        ("ECE % scaled", "ece_after", tables.percent),
    ]
    curve = [
        ("budget", "budget", cost),
        ("single %", "single", tables.percent),
        ("early exit %", "early_exit", tables.percent),
        ("at cost", "cost", cost),
        ("ideal %", "oracle", tables.percent),
    ]
    lines = {}
    for row in rows:
        line = lines.setdefault(row["budget"], {"budget": row["budget"]})
        line[row["method"]] = row["accuracy"]
        if row["method"] == "early_exit":
            line["cost"] = row["cost"]
    above = tables.text(study.submodels, submodels)
    title = f"Test accuracy within a mean cost per image, {label}:"
    return "\n".join([above, "", title, tables.text(list(lines.values()), curve)])


def frame(study, rows):
    """The rows of a curve as a `pandas.DataFrame`, a column for each threshold and share."""
    whole = pd.DataFrame(rows)
    for key in ("thresholds", "shares"):
        for exit, name in enumerate(study.names[: -1 if key == "thresholds" else None]):
            # An ideal choice has neither.
            whole[f"{key.removesuffix('s')}_{name}"] = whole[key].str[exit]
        del whole[key]
    return whole


def draw(study, rows, quantity, title, path):
    """Writes the figure: test accuracy over mean cost per image, with 95 % intervals."""
    label, unit = _UNITS[quantity]
    images = study.test.correct.shape[1]
    figure, (axes,) = figures.figure(1, title)
    for number, (method, name) in enumerate(_METHODS.items()):
        points = study.submodels if method == "single" else rows
        points = [row for row in points if method in ("single", row.get("method"))]
        # An ideal choice costs what the budget allows.
        cost = [row.get("cost", row.get("budget")) / unit for row in points]
        accuracy = np.array([row["accuracy"] for row in points], float)
        interval = 1.96 * np.sqrt(accuracy * (1 - accuracy) / images)
        style = figures.style(number, len(_METHODS), name)
        axes.errorbar(cost, 100 * accuracy, 100 * interval, elinewidth=0.6, capsize=2, **style)
    axes.set(
        xlabel=f"{label}, mean per image",
        ylabel=f"test accuracy (%), {images:,} images, 95 % interval",
    )
    axes.legend(loc="lower right", fontsize="small")
    figures.save(figure, path)
