"""A training step of every family against its arithmetic, with memory and start.

taskset -c 1 python -m benchmarks.families --repeats=1 --intra_op_threads=1 --inter_op_threads=1

Possible is the time that the step's multiply-adds would take at the rate of a large matrix product,
measured in the same process: three times those of the forward pass of what a step trains (once
forward, and a gradient each of inputs and weights). Both are times of processors, not of the clock,
so that a machine that does other things as well gives the same.
"""

import functools

from benchmarks import case, workload
from ipkd_tf import models
from ipkd_tf.models import cost

FAMILIES = (
    "msdnet",
    "slimmable_mobilenet_v1",
    "us_mobilenet_v1",
    "ofa_mobilenet_v3",
    "hne_resnet",
    "cnmm",
    "sp_resnet20",
    "densenet_bc_40_12",
    "plain_cnn_exits",
)
COLUMNS = (
    ("network", "model", "{}"),
    ("sub-models in a step", "drawn", "{}"),
    ("multiply-adds per image, M", "multiply_adds", "{:,.0f}"),
    ("step, core ms", "core_ms", "{:,.0f}"),
    ("possible", "possible_ms", "{:,.0f}"),
    ("possible / step", "ratio", "{:.2f}"),
    ("start, core s", "start_core_s", "{:.0f}"),
    ("peak MB", "peak_mb", "{:,.0f}"),
)
_STEPS = 8  # whose draws are counted


def measure(settings, run=workload.run):
    ones = {model: settings.workload(model) for model in settings.models}
    samples = {
        model: functools.partial(
            run, one, steps=settings.steps, threads=settings.threads, products=True
        )
        for model, one in ones.items()
    }
    results = case.sample_in_turn(samples, settings.repeats)
    return [_row(ones[model], numbers) for model, numbers in results.items()]


def _row(one, results):
    network, median = one.network(), case.medians(results)
    trained = trained_multiply_adds(network)
    possible_ms = 1e3 * 3 * trained * one.batch_size / median["product_rate"]
    return {
        "model": one.model,
        "batch_size": one.batch_size,
        "drawn": getattr(network, "drawn", len(network.outputs)),
        "multiply_adds": trained / 1e6,
        "possible_ms": possible_ms,
        "ratio": possible_ms / median["core_ms"],
        **{name: median[name] for name in ("core_ms", "start_core_s", "peak_mb")},
    }


def trained_multiply_adds(network):
    """Multiply-adds for one image of the forward pass of what a training step computes, the mean.

    Of drawn sub-models the sum; of others what the network computes, what they share counted once.
    """
    if isinstance(network, models.CNMM) and network.arguments["sampled"]:
        return _of_paths(network)
    if isinstance(network, models.USMobileNetV1 | models.OFAMobileNetV3):
        drawn = [one for step in range(_STEPS) for one in _draw(network, step)]
        counted = {one.name: _of_one(network, one) for one in dict.fromkeys(drawn)}
        return sum(counted[one.name] for one in drawn) / _STEPS
    return cost.multiply_adds(network)


def _draw(network, step):
    rows = network.draw(0, step).numpy().tolist()
    if isinstance(network, models.USMobileNetV1):
        return [network.resolve(str(width)) for width in rows]
    space = network.space().items()
    positions = [zip(space, row, strict=True) for row in rows]
    return [network.compose({gene: all[at] for (gene, all), at in row}) for row in positions]


def _of_one(network, submodel):
    return cost.of_submodel(network, submodel)["multiply_adds"]


def _of_paths(network):
    """Untrained, node j of d takes each of the j before it alike: 1 + 1/2 + ... + 1/d links."""
    paths = [_of_one(network, 0)] * network.drawn  # one link in each scale
    link = (_of_one(network, 1) - paths[0]) / 2  # three in each
    longer = [sum(1 / j for j in range(2, d + 1)) for d in range(1, network.drawn + 1)]
    return sum(paths) + link * sum(longer)


if __name__ == "__main__":
    case.start("families", measure, COLUMNS, models=FAMILIES, batch_size=64)
