"""Result files of one run as a table and two figures."""

import pathlib

from ipkd_tf.models import cost
from ipkd_tf.output import figures, tables

_SCORES = (
    ("accuracy %", "accuracy", tables.percent),
    ("top-5 %", "top_5_accuracy", tables.percent),
    ("loss", "loss", "{:.4f}"),
    ("ECE %", "calibration_error", tables.percent),
)


def table(result):
    """The test scores of a finished run's best epoch as text, one line per sub-model."""
    epochs = f"{result['best_epoch']} of {result['last_epoch']}"
    return score_table(f"{title(result)}: test scores of the best epoch, {epochs}", result["best"])


def title(result):
    return f"{result['name']}, seed {result['seed']}"


def score_table(title, rows):
    """Rows of `evaluation.evaluate` as text, every cost a column, under a title; their average."""
    scores = [one for one in _SCORES if one[1] in rows[0]]  # Earlier versions had fewer.
    average = {key: sum(row[key] for row in rows) / len(rows) for _, key, _ in scores}
    costs = cost_columns(rows[0])
    average |= {"name": "average", **{key: "" for _, key, _ in costs}}
    columns = [("sub-model", "name", "{}"), *scores, *costs]
    return f"{title}\n{tables.text([*rows, average], columns)}"


def cost_columns(row):
    """A column of a table for every cost in a row of `evaluation.evaluate`."""
    labels = {one.name: one.label for one in cost.COSTS}
    costs = [key for key in row if key not in {"name", *(key for _, key, _ in _SCORES)}]
    return [(labels.get(key, key.replace("_", " ")), key, "{:,}") for key in costs]


def draw(result, history, directory):
    """Writes training_curve.png and accuracy_multiply_adds.png of a run to a directory."""
    directory = pathlib.Path(directory)
    figures.save(_training_curve(result, history), directory / "training_curve.png")
    figures.save(_accuracy_over_multiply_adds(result), directory / "accuracy_multiply_adds.png")


def _training_curve(result, history):
    figure, (accuracy, loss) = figures.figure(2, title(result))
    epochs = [row["epoch"] for row in history]
    every = max(1, len(epochs) // 8)
    for number, row in enumerate(result["best"]):
        scores = [100 * epoch[f"val_{row['name']}_accuracy"] for epoch in history]
        style = figures.style(number, len(result["best"]), row["name"])
        accuracy.plot(epochs, scores, markevery=every, **style)
    average = [100 * row["val_avg_accuracy"] for row in history]
    accuracy.plot(epochs, average, color="black", linewidth=2.5, label="average")
    accuracy.axvline(result["best_epoch"], color="0.6", linewidth=1, label="best epoch")
    accuracy.set(xlabel="epoch", ylabel="validation accuracy (%)")
    for (key, label), line in zip(
        {"loss": "total", "hard_loss": "hard (labels)", "soft_loss": "soft (teachers)"}.items(),
        figures.LINES,
        strict=False,
    ):
        loss.plot(epochs, [row[key] for row in history], line, color="black", label=label)
    loss.set(xlabel="epoch", ylabel="training loss (nats, sum over sub-models)", ylim=(0, None))
    for axes in (accuracy, loss):
        axes.legend(fontsize="small")
    return figure


def _accuracy_over_multiply_adds(result):
    figure, (axes,) = figures.figure(1, title(result))
    epochs = {"best": result["best_epoch"], "last": result["last_epoch"]}
    labels = {which: f"{which} epoch ({epoch})" for which, epoch in epochs.items()}
    style = {"color": "black", "label": labels["best"]}
    points = figures.plot_accuracy(axes, result["best"], "o-", **style)
    figures.name_points(axes, [row["name"] for row in result["best"]], *points)
    if epochs["last"] != epochs["best"]:
        figures.plot_accuracy(axes, result["last"], "s--", color="0.55", label=labels["last"])
    axes.legend(loc="lower right")
    return figure
