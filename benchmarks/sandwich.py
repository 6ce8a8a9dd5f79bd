"""A step at widths that are only known as it runs, against one at the same widths known before.

python -m benchmarks.sandwich --batch_size=128 --methods=ipkd_ta_m

The first is a universally slimmable network whose draws are its four named widths, the second the
slimmable network of these widths: the same layers, the same arithmetic.
"""

import functools

import tensorflow as tf

from benchmarks import case, workload
from ipkd_tf import models

_NETWORKS = {"drawn": "benchmarks.sandwich:DrawsNamedWidths", "fixed": "slimmable_mobilenet_v1"}
COLUMNS = (
    ("widths", "model", "{}"),
    ("method", "method", "{}"),
    ("step ms", "step_ms", "{:,.0f}"),
    ("time against fixed", "time", "{:.3f}"),
    ("start s", "start_s", "{:.1f}"),
    ("peak MB", "peak_mb", "{:,.0f}"),
)


class DrawsNamedWidths(models.USMobileNetV1):
    """Draws the same widths at each step, as a tensor all the same."""

    def draw(self, seed, step):
        return tf.constant(self.arguments["widths"], tf.float64)


def measure(settings, run=workload.run):
    samples = {
        (widths, method): functools.partial(
            run,
            settings.workload(network, method),
            steps=settings.steps,
            threads=settings.threads,
        )
        for method in settings.methods
        for widths, network in _NETWORKS.items()
    }
    results = case.sample_in_turn(samples, settings.repeats)
    steps = {key: [one["step_ms"] for one in numbers] for key, numbers in results.items()}
    return [
        {
            "model": widths,
            "method": method,
            **case.medians(results[widths, method]),
            "time": case.median_ratio(steps[widths, method], steps["fixed", method]),
        }
        for widths, method in samples
    ]


if __name__ == "__main__":
    case.start("sandwich", measure, COLUMNS, methods=("ipkd_ta_m",), batch_size=128)
