"""How step time and memory grow with batch, exits, widths, classes and image side."""

import dataclasses
import functools
import typing

import numpy as np

from benchmarks import cases, fresh
from ipkd_tf.deployment import latency
from ipkd_tf.output import figures

_BOTH = ("msdnet", "slimmable_mobilenet_v1")
_MODEL_OF = {"exits": _BOTH[:1], "widths": _BOTH[1:]}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Steps of the full-size networks that differ in one quantity; 64 images unless it says so."""

    quantity: str
    values: tuple
    quick_values: tuple
    changes: typing.Callable  # from a value to the fields of the Workload it changes


SWEEPS = (
    Sweep("batch", (16, 32, 64, 128, 256), (16, 64), lambda v: {"batch_size": v}),
    Sweep("exits", (3, 5, 7, 11, 15), (3, 7), lambda v: {"arguments": {"blocks": v}}),
    Sweep("widths", (2, 4, 6, 8), (2, 4), lambda v: {"arguments": {"widths": even_widths(v)}}),
    Sweep("classes", (10, 100, 1_000, 10_000), (10, 10_000), lambda v: {"num_classes": v}),
    # 128 x 128 images take 16 times the memory of 32 x 32 ones, hence the small batch.
    Sweep("image side", (32, 64, 96, 128), (32, 64), lambda v: {"image_size": v, "batch_size": 16}),
)


def even_widths(number):
    """Width multipliers at even distances from 1/4 to 1."""
    return [round(float(width), 4) for width in np.linspace(0.25, 1.0, number)]


def measure(settings, run=fresh.run):
    """Step time, memory and the loss's share at every point of the sweeps, in fresh processes.

    Args:
        settings: `Settings`; its models and batch sizes play no part.
        run: takes the place of `fresh.run` in tests.

    Returns:
        Rows; `memory_mb` is the peak above what the process had before it built the network.
    """
    points = {
        (sweep.quantity, model, value): settings.workload(
            model, **{"batch_size": 64, **sweep.changes(value)}
        )
        for sweep in SWEEPS
        for model in _MODEL_OF.get(sweep.quantity, _BOTH)
        for value in (sweep.quick_values if settings.quick else sweep.values)
    }
    samples = {
        point: functools.partial(run, one, settings.steps, threads=settings.threads, loss=True)
        for point, one in points.items()
    }
    results = latency.interleaved(samples, settings.process_repeats, warmup=0)
    return [_row(*point, cases.medians(numbers)) for point, numbers in results.items()]


def _row(quantity, model, value, result):
    return {
        "quantity": quantity,
        "model": model,
        "value": value,
        "step_ms": 1e3 * result["step_s"],
        "memory_mb": result["peak_mb"] - result["start_mb"],
        "loss_share": result["loss_s"] / result["step_s"],
    }


def exponents(rows):
    """The powers of each quantity with which step time and memory grow: slopes in log-log.

    Returns:
        Rows `quantity`, `model`, `step_exponent`, `memory_exponent`.
    """
    return [
        {
            "quantity": quantity,
            "model": model,
            "step_exponent": _slope(curve, "step_ms"),
            "memory_exponent": _slope(curve, "memory_mb"),
        }
        for (quantity, model), curve in _curves(rows).items()
    ]


def _curves(rows):
    found = {}
    for row in rows:
        found.setdefault((row["quantity"], row["model"]), []).append(row)
    return found


def _slope(curve, name):
    values = [row["value"] for row in curve]
    return float(np.polyfit(np.log(values), np.log([row[name] for row in curve]), 1)[0])


def draw(rows, path):
    """Writes the figure of the curves as a PNG."""
    figures.save(figure(rows), path)


def figure(rows):
    """The curves, log-log: step time above, memory below, a column per quantity."""
    # Without pyplot: no display is needed and no figure stays open.
    from matplotlib.figure import Figure

    curves = _curves(rows)
    quantities = list(dict.fromkeys(quantity for quantity, _ in curves))
    result = Figure(figsize=(3.5 * len(quantities), 7), layout="constrained")
    panels = result.subplots(2, len(quantities), squeeze=False, sharey="row", sharex="col")
    for column, quantity in enumerate(quantities):
        shown = {model: curve for (swept, model), curve in curves.items() if swept == quantity}
        for panel, name in zip(panels[:, column], ("step_ms", "memory_mb"), strict=True):
            for model, curve in shown.items():
                _plot(panel, model, curve, name)
            _finish(panel, [row["value"] for curve in shown.values() for row in curve])
        panels[1, column].set_xlabel(quantity)
    panels[0, 0].set_ylabel("optimizer step (ms)")
    panels[1, 0].set_ylabel("peak memory above start (MB)")
    return result


def _plot(panel, model, curve, name):
    panel.plot(
        [row["value"] for row in curve],
        [row[name] for row in curve],
        label=f"{model}, power {_slope(curve, name):.2f}",
        **figures.style(_BOTH.index(model), len(_BOTH)),
    )


def _finish(panel, values):
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator
    from matplotlib.ticker import StrMethodFormatter as Format

    panel.set(xscale="log", yscale="log")
    panel.xaxis.set_major_locator(FixedLocator(sorted(set(values))))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_minor_formatter(NullFormatter())
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(Format("{x:,.0f}"))
    panel.grid(color="0.9")
    panel.margins(y=0.25)
    panel.legend(fontsize="small", loc="upper left")
