"""One training step of every method, its start and its memory, in fresh processes in turn.

python -m benchmarks.training --methods=none,ipkd,ipkd_ta_m
"""

import functools

from benchmarks import case, workload

COLUMNS = (
    ("network", "model", "{}"),
    ("batch", "batch_size", "{}"),
    ("method", "method", "{}"),
    ("step ms", "step_ms", "{:,.0f}"),
    ("images per s", "images_per_s", "{:,.0f}"),
    ("speed against none", "ratio", "{:.2f}"),
    ("start s", "start_s", "{:.1f}"),
    ("peak MB", "peak_mb", "{:,.0f}"),
    ("of it TensorFlow's start", "start_mb", "{:,.0f}"),
)


def measure(settings, run=workload.run):
    samples = {
        (one.model, one.method): functools.partial(
            run, one, steps=settings.steps, threads=settings.threads
        )
        for one in settings.workloads()
    }
    results = case.sample_in_turn(samples, settings.repeats)
    return [_row(settings, *key, results) for key in samples]


def _row(settings, model, method, results):
    speeds = {key: [one["images_per_s"] for one in numbers] for key, numbers in results.items()}
    plain = speeds.get((model, "none"))
    return {
        "model": model,
        "method": method,
        "batch_size": settings.workload(model).batch_size,
        **case.medians(results[model, method]),
        "ratio": case.median_ratio(speeds[model, method], plain) if plain else None,
    }


if __name__ == "__main__":
    case.start("training", measure, COLUMNS)
