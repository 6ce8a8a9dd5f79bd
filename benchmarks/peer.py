"""The same training steps by PyTorch (torch_step.py), each side in fresh processes, in turn.

python -m benchmarks.peer --python=/path/with/torch/bin/python --steps=8 \
    --intra_op_threads=1 --inter_op_threads=2

The ratio is the median of the ratios within the rounds. The peer takes as many threads as there
are cores: give --inter_op_threads their number.
"""

import functools

from benchmarks import case, workload

COLUMNS = (
    ("network", "model", "{}"),
    ("batch", "batch_size", "{}"),
    ("method", "method", "{}"),
    ("ours, images per s", "images_per_s", "{:,.0f}"),
    ("PyTorch", "peer_images_per_s", "{:,.0f}"),
    ("ratio", "ratio", "{:.2f}"),
)
_THEIRS = {"slimmable_mobilenet_v1": "slimmable"}


def measure(settings, run=workload.run):
    return [_row(settings, one, run) for one in settings.workloads()]


def _row(settings, one, run):
    samples = {
        "ours": functools.partial(run, one, steps=settings.steps, threads=settings.threads),
        "peer": functools.partial(workload.last_json_line, command(settings, one)),
    }
    results = case.sample_in_turn(samples, settings.repeats)
    ours, theirs = (case.medians([_numbers(r) for r in results[side]]) for side in samples)
    if ours["parameters"] != theirs["params"]:
        raise ValueError(
            f"Expected the same network on both sides. Received: {ours['parameters']:,.0f} and "
            f"{theirs['params']:,.0f} parameters of {one.model}"
        )
    rates = ([r["images_per_s"] for r in results[side]] for side in samples)
    return {
        "model": one.model,
        "method": one.method,
        "batch_size": one.batch_size,
        "images_per_s": ours["images_per_s"],
        "peer_images_per_s": theirs["images_per_s"],
        "ratio": case.median_ratio(*rates),
    }


def _numbers(result):
    return {name: value for name, value in result.items() if isinstance(value, int | float)}


def command(settings, one):
    """The peer's command for a workload, as a list of words."""
    options = {
        "model": _THEIRS.get(one.model, one.model),
        "method": one.method,
        "batch_size": one.batch_size,
        "precision": one.precision.removeprefix("mixed_"),
        "steps": settings.steps,
    }
    script = str(case.ROOT / "benchmarks" / "torch_step.py")
    return [settings.python, script, *(f"--{name}={value}" for name, value in options.items())]


if __name__ == "__main__":
    case.start("peer", measure, COLUMNS)
