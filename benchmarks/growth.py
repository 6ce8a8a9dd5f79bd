"""How step time and memory grow with batch, classes, image side, and what each family counts.

python -m benchmarks.growth --repeats=1 --steps=2 --intra_op_threads=1 --inter_op_threads=2
"""

import functools

import numpy as np

from benchmarks import case, workload

COLUMNS = (
    ("quantity", "quantity", "{}"),
    ("network", "model", "{}"),
    ("value", "value", "{:,}"),
    ("step ms", "step_ms", "{:,.0f}"),
    ("memory MB", "memory_mb", "{:,.0f}"),
    ("loss %", "loss_share", functools.partial(case.tables.percent, digits=1)),
    ("step grows with power", "step_power", "{:.2f}"),
    ("memory", "memory_power", "{:.2f}"),
)
_MSDNET, _SLIMMABLE = "msdnet", "slimmable_mobilenet_v1"
_US, _OFA = "us_mobilenet_v1_small", "ofa_mobilenet_v3_small"
_LEVELS = ((32, 1), (32, 2), (32, 2), (32, 1), (32, 1))
_BITS = (1, 2, 4, 8, 32)
# Each block has two genes; three stages of two to four blocks, a depth of each, and the side.
_DEPTHS = {16: (2,), 22: (2, 3), 28: (2, 3, 4)}


def _even_widths(number):
    return [round(float(width), 4) for width in np.linspace(0.25, 1.0, number)]


# Quantity, networks, values, and what a value changes of a step of 64 images.
CURVES = (
    ("batch", (_MSDNET, _SLIMMABLE), (16, 32, 64, 128, 256), lambda v: {"batch_size": v}),
    ("exits", (_MSDNET,), (3, 5, 7, 11, 15), lambda v: {"arguments": {"blocks": v}}),
    ("widths", (_SLIMMABLE,), (2, 4, 6, 8), lambda v: {"arguments": {"widths": _even_widths(v)}}),
    ("classes", (_MSDNET, _SLIMMABLE), (10, 100, 1000, 10_000), lambda v: {"num_classes": v}),
    # 128 x 128 images take 16 times the memory of 32 x 32 ones, hence the small batch.
    (
        "image side",
        (_MSDNET, _SLIMMABLE),
        (32, 64, 96, 128),
        lambda v: {"image_size": v, "batch_size": 16},
    ),
    (
        "leaves",
        ("hne_resnet_small",),
        (2, 4, 8, 16),
        lambda v: {"arguments": {"levels": _LEVELS[: v.bit_length()]}},
    ),
    # The ends of the range and the random ones between.
    ("sub-models drawn", (_US, _OFA), (2, 4, 6, 8), lambda v: {"arguments": {"draws": v - 2}}),
    (
        "precisions",
        ("sp_resnet20_small",),
        (2, 3, 4, 5),
        lambda v: {"arguments": {"bits": _BITS[-v:]}},
    ),
    (
        "genes",
        (_OFA,),
        tuple(_DEPTHS),
        lambda v: {"arguments": {"depths": _DEPTHS[v], "named": None}},
    ),
)
MODELS = tuple(dict.fromkeys(model for _, models, *_ in CURVES for model in models))


def measure(settings, run=workload.run):
    """Rows; a curve's powers, the slopes of a line in log-log, stand in its last row."""
    samples = {
        (quantity, model, value): functools.partial(
            run,
            settings.workload(model, **{"batch_size": 64, **changes(value)}),
            steps=settings.steps,
            threads=settings.threads,
            loss=True,
        )
        for quantity, models, values, changes in CURVES
        for model in models
        if model in settings.models
        for value in values
    }
    results = case.sample_in_turn(samples, settings.repeats)
    curves = {}
    for (quantity, model, value), numbers in results.items():
        median = case.medians(numbers)
        memory = median["peak_mb"] - median["start_mb"]  # Above what TensorFlow's start takes.
        row = {"quantity": quantity, "model": model, "value": value, "memory_mb": memory}
        row |= {name: median[name] for name in ("step_ms", "loss_share")}
        curves.setdefault((quantity, model), []).append(row)
    for curve in curves.values():
        curve[-1] |= {"step_power": _power(curve, "step_ms")}
        curve[-1] |= {"memory_power": _power(curve, "memory_mb")}
    return [row for curve in curves.values() for row in curve]


def _power(curve, name):
    values, numbers = ([row[key] for row in curve] for key in ("value", name))
    return float(np.polyfit(np.log(values), np.log(numbers), 1)[0])


if __name__ == "__main__":
    case.start("growth", measure, COLUMNS, models=MODELS)
