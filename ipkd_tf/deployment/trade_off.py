"""What each sub-model reaches and costs in each format: measured rows, table, figure."""

import dataclasses
import functools
import pathlib
import tempfile

from ipkd_tf.deployment import latency
from ipkd_tf.deployment.export import formats as export_formats
from ipkd_tf.deployment.export import readers, writing
from ipkd_tf.models import cost, flexible
from ipkd_tf.output import counter, figures, tables
from ipkd_tf.output.checks import check

_HEAD = [("sub-model", "name", "{}"), ("format", "format", "{}")]
_COMPARED = ("accuracy", "largest_difference", "equal_decisions")
_MEASURED = [
    ("accuracy %", "accuracy", tables.percent),
    ("bytes", "bytes", "{:,}"),
    ("median ms", "milliseconds", "{:.3f}"),
    ("p95 ms", "p95_ms", "{:.3f}"),
    ("largest difference", "largest_difference", "{:.2g}"),
]


@dataclasses.dataclass(frozen=True)
class Conditions:
    """How calls of files are timed: images per call, threads (0: the runtime's choice), calls.

    TensorFlow's threads are the process's, to be set before its first operation.
    """

    batch_size: int = 1
    threads: int = 1
    repeats: int = 100

    def __post_init__(self):
        for name, least in {"batch_size": 1, "threads": 0, "repeats": 1}.items():
            check(getattr(self, name) >= least, f"at least {least}", **{name: getattr(self, name)})

    def __str__(self):
        return (
            f"{self.repeats} warm calls, batch {self.batch_size}, "
            f"threads: {self.threads or 'each runtime chooses'}"
        )


def measure(
    network,
    images,
    labels,
    formats,
    conditions=None,
    *,
    calibration_images=None,
    rows=None,
    submodels=None,
):
    """Exports every sub-model in every format, aside, and measures the files.

    Args:
        network: A flexible network, or any functional model with one logits output per sub-model.
        images: uint8 `[images, height, width, channels]` for accuracy and differences; of all
            classes.
        labels: Integers `[images]`.
        formats: Names from `export.FORMATS`.
        conditions: `Conditions`; None for the default ones.
        calibration_images: As for `export.export_submodel`.
        rows: Costs of each sub-model that are known already, such as a run's; None to count them.
        submodels: Names of some; None for the named ones.

    Returns:
        One dict per sub-model and format: name, format, parameters, multiply_adds (each of the
        network's costs), accuracy (of the file), largest_difference and equal_decisions (against
        the network), bytes, milliseconds (median per call), p95_ms.

    Raises:
        ValueError: As `export.export_submodel` does.

    Example:
        >>> rows = measure(network, images, labels, ["litert", "onnx"])
        >>> budget.choose(rows, Budget.parse("500kB"))["name"]
    """
    conditions = conditions or Conditions()
    export_formats.check_formats(formats)
    measured = []
    names = submodels or flexible.names(network)
    for name in counter.track(names, "measuring", "sub-models"):
        with tempfile.TemporaryDirectory() as directory:
            compared = {"images": images, "labels": labels, "rows": rows}
            document = writing.export_submodel(
                network, name, directory, formats, calibration_images=calibration_images, **compared
            )
            (facts,) = document["submodels"]
            costs = {one.name: facts[one.name] for one in cost.table(network) if one.name in facts}
            for format in formats:
                entry = document["formats"][format]
                path = pathlib.Path(directory, entry["path"])
                row = {"name": name, "format": format, **costs}
                row |= {key: entry["checks"][0][key] for key in _COMPARED}
                opened = readers.open_model(path, conditions.threads or None)
                call = functools.partial(opened, images[: conditions.batch_size], opened.largest)
                times = latency.measure(call, repeats=conditions.repeats)
                row |= {"bytes": entry["bytes"], "milliseconds": times["median_ms"]}
                measured.append({**row, "p95_ms": times["p95_ms"]})
    return measured


def table(rows):
    """The rows of `measure` as a Markdown table, its columns aligned."""
    known = {"equal_decisions", *(key for _, key, _ in [*_HEAD, *_MEASURED])}
    costs = [(key.replace("_", "-"), key, "{:,}") for key in sorted({*rows[0]} - known)]
    accuracy, *others = _MEASURED
    return tables.text(rows, [*_HEAD, accuracy, *costs, *others], "pipe")


def draw(rows, title, path):
    """Writes a figure: accuracy over file size and over latency, one line for each format."""
    figure, (size, time) = figures.figure(2, title, sharey=True)
    formats = list(dict.fromkeys(row["format"] for row in rows))
    for number, format in enumerate(formats):
        of_format = [row for row in rows if row["format"] == format]
        accuracy = [100 * row["accuracy"] for row in of_format]
        style = figures.style(number, len(formats), format)
        megabytes = [row["bytes"] / 1e6 for row in of_format]
        size.plot(megabytes, accuracy, **style)
        time.plot([row["milliseconds"] for row in of_format], accuracy, **style)
        if not number:
            figures.name_points(size, [row["name"] for row in of_format], megabytes, accuracy)
    size.set(xlabel="file size (MB)", ylabel="test accuracy (%)")
    time.set(xlabel="latency, median per call (ms)")
    figures.log_scale(time)
    time.legend(fontsize="small")
    figures.save(figure, path)
