"""What each sub-model of a run reaches and costs in each format: table, figure, choice."""

import contextlib
import dataclasses
import io
import pathlib
import tempfile

import tabulate

from ipkd_tf import data
from ipkd_tf.deployment import budget as budgets
from ipkd_tf.deployment import export
from ipkd_tf.deployment.export import latency
from ipkd_tf.output import figures

CALIBRATION_IMAGES = 512
_COLUMNS = (
    ("sub-model", "name", "{}"),
    ("format", "format", "{}"),
    ("accuracy %", "accuracy_percent", "{:.2f}"),
    ("multiply-adds", "multiply_adds", "{:,}"),
    ("parameters", "parameters", "{:,}"),
    ("bytes", "bytes", "{:,}"),
    ("median ms", "milliseconds", "{:.3f}"),
    ("p95 ms", "p95_ms", "{:.3f}"),
    ("largest difference", "largest_difference", "{:.2g}"),
)


@dataclasses.dataclass(frozen=True)
class Conditions:
    """How files are measured.

    Attributes:
        images: Test images each file is compared on; 0 for all.
        batch_size: Images per timed call.
        threads: Of LiteRT and ONNX Runtime; 0 for their own choice. TensorFlow's threads are the
            process's, to be set before its first operation.
        repeats: Timed calls.
    """

    images: int = 1000
    batch_size: int = 1
    threads: int = 1
    repeats: int = 100

    def __post_init__(self):
        least = {"images": 0, "batch_size": 1, "threads": 0, "repeats": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(
                    f"Expected at least {bound}. Received: {name}={getattr(self, name)}"
                )


def export_settings(run, images):
    """Arguments for `export.export_submodel` that a run knows.

    Args:
        run: `FinishedRun`.
        images: Test images to compare on; 0 for all.
    """
    train, test = run.splits.train, run.splits.test
    test = test.subset(data.draw(test.labels, images or None))
    return {
        "images": test.images(),
        "labels": test.labels,
        "calibration_images": train.images(data.draw(train.labels, CALIBRATION_IMAGES)),
        "class_names": run.splits.dataset.class_names,
        "rows": run.rows,
        "run": {"epoch": run.which, "result": run.result},
    }


def measure(run, formats, conditions):
    """Exports every sub-model in every format, aside, and measures the files.

    Args:
        run: `FinishedRun`.
        formats: Names from `export.FORMATS`.
        conditions: `Conditions`.

    Returns:
        One dict per sub-model and format: name, format, parameters, multiply_adds, accuracy (of the
        file, on the conditions' test images), largest_difference and equal_decisions (against the
        network), bytes, milliseconds (median per call), p95_ms.

    Raises:
        ValueError: As `export.export_submodel` does.
    """
    export.check_formats(formats)
    settings = export_settings(run, conditions.images)
    rows = []
    for index, submodel in enumerate(run.rows):
        with tempfile.TemporaryDirectory() as directory:
            with contextlib.redirect_stdout(io.StringIO()):
                exported = export.export_submodel(
                    run.network, index, directory, formats, **settings
                )
            for format in formats:
                entry = exported["formats"][format]
                path = pathlib.Path(directory, entry["path"])
                rows.append(_row(submodel, format, entry, path, settings["images"], conditions))
    return rows


def _row(submodel, format, entry, path, images, conditions):
    (check,) = entry["checks"]
    opened = export.open_model(path, conditions.threads or None)
    times = latency.measure(
        opened, images[: conditions.batch_size], opened.signatures[0], repeats=conditions.repeats
    )
    return {
        "name": submodel["name"],
        "format": format,
        "parameters": submodel["parameters"],
        "multiply_adds": submodel["multiply_adds"],
        "accuracy": check["accuracy"],
        "largest_difference": check["largest_difference"],
        "equal_decisions": check["equal_decisions"],
        "bytes": entry["bytes"],
        "milliseconds": times["median_ms"],
        "p95_ms": times["p95_ms"],
    }


def choose(run, text, format, conditions):
    """The most accurate sub-model of a run within a budget.

    Multiply-adds are those of the run's result; bytes and milliseconds are measured here, of the
    file in `format`.

    Returns:
        Its row, and a line of text that says what it costs and how that was measured.

    Raises:
        ValueError: The budget cannot be read, or none is within it.
    """
    budget = budgets.Budget.parse(text)
    rows = run.rows if budget.quantity == "multiply_adds" else measure(run, [format], conditions)
    row = budgets.choose(rows, budget)
    cost = budgets.amount(row[budget.quantity], budget.quantity)
    text = f"The most accurate sub-model within {budget.text}: {row['name']} with {cost}"
    if budget.quantity == "milliseconds":
        text += (
            f" (median of {conditions.repeats} warm calls of the {format} file; 95th percentile "
            f"{row['p95_ms']:.3g} ms; batch {conditions.batch_size}, "
            f"threads: {conditions.threads or 'its own choice'})"
        )
    return row, text


def describe(run, conditions):
    """How the rows of `measure` were measured, in one line."""
    count = conditions.images or len(run.splits.test)
    threads = f"threads: {conditions.threads or 'each runtime chooses'}"
    return (
        f"accuracy and difference on {min(count, len(run.splits.test))} test images, latency of "
        f"{conditions.repeats} warm calls with batch {conditions.batch_size}, {threads}"
    )


def table(rows):
    """The rows of `measure` as a Markdown table, its columns aligned."""
    rows = [{**row, "accuracy_percent": 100 * row["accuracy"]} for row in rows]
    cells = [[form.format(row[key]) for _, key, form in _COLUMNS] for row in rows]
    heads = [head for head, _, _ in _COLUMNS]
    alignment = ["left", "left", *["right"] * (len(heads) - 2)]
    return tabulate.tabulate(cells, heads, "pipe", colalign=alignment, disable_numparse=True)


def draw(rows, title, path):
    """Writes a figure: accuracy over file size and over latency, one line for each format."""
    figure, (size, time) = figures.figure(2, title, sharey=True)
    formats = list(dict.fromkeys(row["format"] for row in rows))
    for number, format in enumerate(formats):
        of_format = [row for row in rows if row["format"] == format]
        accuracy = [100 * row["accuracy"] for row in of_format]
        style = {**figures.style(number, len(formats)), "label": format}
        size.plot([row["bytes"] / 1e6 for row in of_format], accuracy, **style)
        time.plot([row["milliseconds"] for row in of_format], accuracy, **style)
    _name_points(size, [row for row in rows if row["format"] == formats[0]])
    size.set(xlabel="file size (MB)", ylabel="test accuracy (%)")
    time.set(xlabel="latency, median per call (ms)", xscale="log")
    time.xaxis.set_major_formatter("{x:g}")
    for axes in (size, time):
        axes.margins(x=0.1, y=0.2)
    time.legend(fontsize="small")
    figures.save(figure, path)


def _name_points(axes, rows):
    for row in rows:
        axes.annotate(
            row["name"],
            (row["bytes"] / 1e6, 100 * row["accuracy"]),
            (0, 8),
            textcoords="offset points",
            ha="center",
            fontsize="small",
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
        )
