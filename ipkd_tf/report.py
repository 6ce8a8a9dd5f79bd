"""Result files of one run as a table and two figures."""

import pathlib

from ipkd_tf import workdir

_MARKERS = "osD^vP*X<>hd"
_LINES = ("-", "--", "-.", ":")
_COLUMNS = (
    ("sub-model", "name", "{}"),
    ("accuracy %", "accuracy", "{:.2f}"),
    ("top-5 %", "top_5_accuracy", "{:.2f}"),
    ("loss", "loss", "{:.4f}"),
    ("parameters", "parameters", "{:,}"),
    ("multiply-adds", "multiply_adds", "{:,}"),
)


def table(result):
    """The test scores of a finished run's best epoch as text, one line per sub-model.

    Args:
        result: What `training.run` returns and result.json holds.

    Example:
        >>> print(table(json.load(open("runs/quickstart/seed0/result.json"))))
    """
    title = (
        f"{result['name']}, seed {result['seed']}: test scores of the best epoch, "
        f"{result['best_epoch']} of {result['last_epoch']}"
    )
    return score_table(title, result["best"])


def score_table(title, rows):
    """Rows of `evaluation.evaluate` as text under a title, with their average."""
    rows = [_percent(row) for row in rows]
    cells = [[form.format(row[key]) for _, key, form in _COLUMNS] for row in rows]
    cells.append(["average", *(form.format(_mean(rows, key)) for _, key, form in _COLUMNS[1:4])])
    return "\n".join([title, *_aligned([[head for head, _, _ in _COLUMNS], *cells])])


def _aligned(lines):
    """Pads the cells to columns: the first to the left, numbers to the right."""
    widths = [max(len(line[c]) for line in lines if c < len(line)) for c in range(len(lines[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=False))
        )
        for line in lines
    ]


def _percent(row):
    shares = ("accuracy", "top_5_accuracy")
    return {key: 100 * value if key in shares else value for key, value in row.items()}


def _mean(rows, key):
    return sum(row[key] for row in rows) / len(rows)


def draw(result, history, directory):
    """Writes training_curve.png and accuracy_multiply_adds.png of a run to a directory.

    Args:
        result: What `training.run` returns and result.json holds.
        history: One dict per epoch, as `workdir.read_history` reads history.csv.
        directory: Where the figures go.
    """
    directory = pathlib.Path(directory)
    _save(_training_curve(result, history), directory / "training_curve.png")
    _save(_accuracy_over_multiply_adds(result), directory / "accuracy_multiply_adds.png")


def _training_curve(result, history):
    figure, (accuracy, loss) = _figure(2, f"{result['name']}, seed {result['seed']}")
    epochs = [row["epoch"] for row in history]
    every = max(1, len(epochs) // 8)
    for number, row in enumerate(result["best"]):
        scores = [100 * epoch[f"val_{row['name']}_accuracy"] for epoch in history]
        style = _style(number, len(result["best"]))
        accuracy.plot(epochs, scores, label=row["name"], markevery=every, **style)
    average = [100 * row["val_avg_accuracy"] for row in history]
    accuracy.plot(epochs, average, color="black", linewidth=2.5, label="average")
    accuracy.axvline(result["best_epoch"], color="0.6", linewidth=1, label="best epoch")
    accuracy.set(xlabel="epoch", ylabel="validation accuracy (%)")
    for (key, label), line in zip(
        {"loss": "total", "hard_loss": "hard (labels)", "soft_loss": "soft (teachers)"}.items(),
        _LINES,
        strict=False,
    ):
        loss.plot(epochs, [row[key] for row in history], line, color="black", label=label)
    loss.set(xlabel="epoch", ylabel="training loss (nats, sum over sub-models)", ylim=(0, None))
    for axes in (accuracy, loss):
        axes.legend(fontsize="small")
    return figure


def _accuracy_over_multiply_adds(result):
    figure, (axes,) = _figure(1, f"{result['name']}, seed {result['seed']}")
    _plot_epoch(axes, result, "best", "o-", color="black")
    if result["last_epoch"] != result["best_epoch"]:
        _plot_epoch(axes, result, "last", "s--", color="0.55")
    for row in result["best"]:
        point = row["multiply_adds"] / 1e6, 100 * row["accuracy"]
        axes.annotate(
            row["name"],
            point,
            (0, 8),
            textcoords="offset points",
            ha="center",
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
        )
    axes.set(xlabel="multiply-adds per image (millions)", ylabel="test accuracy (%)")
    axes.margins(x=0.1, y=0.2)
    axes.legend(loc="lower right")
    return figure


def _plot_epoch(axes, result, which, style, color):
    cost = [row["multiply_adds"] / 1e6 for row in result[which]]
    scores = [100 * row["accuracy"] for row in result[which]]
    label = f"{which} epoch ({result[f'{which}_epoch']})"
    axes.plot(cost, scores, style, color=color, label=label)


def _figure(panels, title):
    # Without pyplot: no display is needed and no figure stays open.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * panels, 4.5), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for one in axes:
        one.grid(color="0.9")
    return figure, axes


def _style(number, count):
    from matplotlib import colormaps

    # cividis grows steadily in lightness and looks alike to all; its pale end is left out.
    return {
        "color": colormaps["cividis"](0.85 * number / max(1, count - 1)),
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": _LINES[number % len(_LINES)],
        "linewidth": 1.2,
        "markersize": 5,
    }


def _save(figure, path):
    with workdir.replacing(path) as aside:
        figure.savefig(aside, dpi=150)
